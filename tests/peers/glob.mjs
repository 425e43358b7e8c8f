// Says which files of a folder each list of patterns takes, by the library that actions/upload-artifact uses.
import { readFileSync } from "node:fs";
import { relative } from "node:path";
import * as glob from "@actions/glob";

const { root, lists } = JSON.parse(readFileSync(process.argv[2], "utf8"));
process.chdir(root);
const taken = [];
for (const list of lists) {
  const globber = await glob.create(list.join("\n"), { followSymbolicLinks: false, matchDirectories: false });
  try {
    taken.push((await globber.glob()).map((path) => relative(root, path)).sort());
  } catch (error) {
    if (error.code !== "ENOTDIR") throw error;
    taken.push(null); // it fails itself on a literal path through a file
  }
}
console.log(JSON.stringify({ taken }));
