// Renders pages as GitHub's flavour of Markdown has it, raw HTML left in: what a reader's browser would be given.
import { readFileSync } from "node:fs";
import { micromark } from "micromark";
import { gfm, gfmHtml } from "micromark-extension-gfm";

const pages = JSON.parse(readFileSync(process.argv[2], "utf8"));
const options = { allowDangerousHtml: true, extensions: [gfm()], htmlExtensions: [gfmHtml()] };
console.log(JSON.stringify({ html: pages.map((page) => micromark(page, options)) }));
