// Says each case of a JSON file by GitHub's own client, and prints what that wrote to stdout and to the runner's files.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as core from "@actions/core";

const folder = mkdtempSync(join(tmpdir(), "core-"));
const file = join(folder, "file");
process.env.GITHUB_OUTPUT = process.env.GITHUB_STATE = file;

const about = ({ title, file }) => (title || file ? { title, file } : {});
const say = {
  notice: (one) => core.notice(one.text, about(one)),
  warning: (one) => core.warning(one.text, about(one)),
  error: (one) => core.error(one.text, about(one)),
  group: (one) => core.startGroup(one.text),
  mask: (one) => core.setSecret(one.text),
  output: (one) => core.setOutput("name", one.text),
  state: (one) => core.saveState("name", one.text),
};

const write = process.stdout.write;
const said = JSON.parse(readFileSync(process.argv[2], "utf8")).map((one) => {
  let printed = "";
  writeFileSync(file, "");
  process.stdout.write = (text) => ((printed += text), true);
  say[one.kind](one);
  process.stdout.write = write;
  return printed + readFileSync(file, "utf8");
});
rmSync(folder, { recursive: true });
console.log(JSON.stringify({ said }));
