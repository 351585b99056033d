// Prints what AsyncAPI's own parser has to say about a document, a line each; ends with 1 if there is anything.
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const { document, diagnostics } = await new Parser().parse(await readFile(process.argv[2], "utf8"));
for (const { code, path, message } of diagnostics) console.log(`${path.join("/")}: ${message} (${code})`);
process.exitCode = document === undefined || diagnostics.length > 0 ? 1 : 0;
