// What the measurements here have in common: their arguments, how they tell of progress, and the files they leave.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const folder = fileURLToPath(new URL('results', import.meta.url));

/** `--name value` for each of the defaults, and what stands without a name as `rest`. */
export function arguments_(defaults) {
  const options = Object.fromEntries(
    Object.entries(defaults).map(([name, value]) => [name, { type: 'string', default: value }]),
  );
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  return { ...values, rest: positionals };
}

/** A line on standard error that is written over; nothing where no terminal is. */
export function progress(stream = process.stderr) {
  return (text = '') => {
    if (stream.isTTY) stream.write(`\r\u001b[K${text}`);
  };
}

/** The machine, the date and the command, files without their folders, for whoever reads the figures later. */
const circumstances = () => ({
  date: new Date().toISOString().slice(0, 10),
  command: ['node', `bench/${basename(process.argv[1])}`, ...process.argv.slice(2).map(shown)].join(' '),
  node: process.version,
  system: `${process.platform} ${release()}`,
  processor: `${cpus()[0].model.trim()}, ${cpus().length} cores, ${Math.round(totalmem() / 2 ** 30)} GiB`,
});

const shown = (word) => (/[\s']/.test(word) ? `"${basename(word)}"` : basename(word));

export function keepResults(name, results) {
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/${name}.json`, `${JSON.stringify({ ...circumstances(), ...results })}\n`);
  console.error(`written: bench/results/${name}.json`);
}

/** What a measurement left, or undefined. */
export function readResults(name) {
  try {
    return JSON.parse(readFileSync(`${folder}/${name}.json`, 'utf8'));
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}
