// Lists the artifacts of this run and downloads one by the official client: what it saw, as JSON on the last line.
import { DefaultArtifactClient } from "@actions/artifact";

const [name, into] = process.argv.slice(2);
const client = new DefaultArtifactClient();
const { artifacts } = await client.listArtifacts();
const { artifact } = await client.getArtifact(name);
const { digestMismatch } = await client.downloadArtifact(artifact.id, { path: into, expectedHash: artifact.digest });
console.log(JSON.stringify({ names: artifacts.map((each) => each.name), ...artifact, digestMismatch }));
