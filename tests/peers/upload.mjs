// Uploads files by the official client, stored as ours are.
import { DefaultArtifactClient } from "@actions/artifact";

const [name, root, ...files] = process.argv.slice(2);
const done = await new DefaultArtifactClient().uploadArtifact(name, files, root, { compressionLevel: 0 });
console.log(JSON.stringify({ ...done, peak_rss_bytes: process.resourceUsage().maxRSS * 1024 }));
