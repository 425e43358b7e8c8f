// Uploads files by the official client, stored as ours are.
import { readFileSync } from "node:fs";
import { DefaultArtifactClient } from "@actions/artifact";

const [name, root, ...files] = process.argv.slice(2);
const done = await new DefaultArtifactClient().uploadArtifact(name, files, root, { compressionLevel: 0 });
const peak = Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "ascii"))[1]) * 1024;
console.log(JSON.stringify({ ...done, peak_rss_bytes: peak }));
