// How long a weight file takes to open and to read, and how much memory that takes above the bare process.
//   node bench/open-checkpoint.js FILE
import { statSync } from 'node:fs';

const path = process.argv[2];
if (!path) {
  console.error('usage: node bench/open-checkpoint.js FILE');
  process.exit(2);
}
const size = statSync(path).size;
const idle = process.memoryUsage.rss();
const start = performance.now();
const { openCheckpoint } = await import('../packages/residual/dist/weights/open.js');
const checkpoint = await openCheckpoint(path);
const opened = performance.now();
const kept = [];
for (const name of checkpoint.tensors.keys()) kept.push(await checkpoint.read(name));
const read = performance.now();
const peak = process.resourceUsage().maxRSS * 1024 - idle;
await checkpoint.close();

const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
console.log(`${path}: ${megabytes(size)} MB, ${checkpoint.format}, ${kept.length} tensors`);
console.log(`table of contents  ${(opened - start).toFixed(0)} ms (import of the reader included)`);
console.log(`all tensors read   ${(read - start).toFixed(0)} ms`);
console.log(`peak memory        ${megabytes(peak)} MB above the idle process, ${(peak / size).toFixed(2)} x the file`);
