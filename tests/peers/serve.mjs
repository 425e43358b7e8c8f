// Runs scripts beside this file, each of them anew, in one process: their libraries are loaded once.
// A line of stdin is JSON of a script's name, its arguments and its environment. The answer is a line of JSON: what the
// script printed, and its error if it has one.
import { createInterface } from "node:readline";

const folder = process.cwd();
const write = process.stdout.write;
let number = 0;
for await (const line of createInterface({ input: process.stdin })) {
  const { script, words, environ } = JSON.parse(line);
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, environ);
  process.argv = [process.argv[0], script, ...words];
  const answer = { printed: "" };
  process.stdout.write = (text) => ((answer.printed += text), true);
  try {
    await import(`./${script}?${number++}`);
  } catch (error) {
    answer.error = String(error?.stack ?? error);
  }
  process.stdout.write = write;
  process.chdir(folder);
  process.stdout.write(JSON.stringify(answer) + "\n");
}
