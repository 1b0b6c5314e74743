// What a photograph costs before the network sees it: decoding, then resizing, cropping and normalizing as torchvision.
//   node bench/pixels.js FOLDER
import { readdirSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2];
if (!folder) {
  console.error('usage: node bench/pixels.js FOLDER');
  process.exit(2);
}
const { decode } = await import('../packages/residual/dist/image/decode.js');
const { applyPlan } = await import('../packages/residual/dist/image/apply.js');
const { preset } = await import('../packages/residual/dist/image/presets.js');

const plan = preset('torchvision', { height: 224, width: 224 });
const files = readdirSync(folder).filter((name) => /\.(jpe?g|png|webp)$/i.test(name));
const rounds = [];
for (let round = 0; round < 8; round++) {
  const times = { decode: 0, apply: 0, cpu: 0 };
  const before = process.cpuUsage();
  for (const name of files) {
    const start = performance.now();
    const { pixels } = await decode(join(folder, name), 'default');
    const decoded = performance.now();
    applyPlan(pixels, plan);
    times.decode += (decoded - start) / files.length;
    times.apply += (performance.now() - decoded) / files.length;
  }
  const used = process.cpuUsage(before);
  times.cpu = (used.user + used.system) / 1000 / files.length;
  // The first rounds are the compiler's.
  if (round >= 3) rounds.push(times);
}
console.log(`${files.length} photographs, ms each, best and median of ${rounds.length} rounds`);
for (const what of ['decode', 'apply', 'cpu']) {
  const sorted = rounds.map((times) => times[what]).sort((a, b) => a - b);
  console.log(`${what.padEnd(8)}${sorted[0].toFixed(2)}  ${sorted[rounds.length >> 1].toFixed(2)}`);
}
