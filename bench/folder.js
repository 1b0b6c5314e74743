// A folder of photographs against the engine alone: images per second, in turn, medians, and their ratio.
//
//   node bench/folder.js resnet50.pth FOLDER [batch] [photographs] [rounds]
//
// Batch 8, as `classify.each` takes a list by itself, when left out. The pictures are repeated until there are as many as
// asked for.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { classify, load, tensor } from '../packages/residual/dist/index.js';

const [weights, folder, batch = '8', photographs = '1000', rounds = '5'] = process.argv.slice(2);
if (!folder) {
  console.error('usage: node bench/folder.js WEIGHTS FOLDER [BATCH] [PHOTOGRAPHS] [ROUNDS]');
  process.exit(2);
}

const found = readdirSync(folder)
  .filter((name) => /\.jpe?g$/i.test(name))
  .map((name) => join(folder, name));
const perRound = Math.ceil(Number(photographs) / Number(rounds));
const files = Array.from({ length: perRound }, (_, i) => found[i % found.length]);
const model = await load(weights);
const [, ...size] = model.graph.inputs[0].shape;
const count = Number(batch);
const input = tensor(new Float32Array(count * size.reduce((a, b) => a * b)).fill(0.5), [count, ...size]);

/** Images per second of the network alone: the next batch waits while one is computed, as in a folder. */
async function engineAlone() {
  const start = performance.now();
  let running = [];
  let done = 0;
  for (; done < perRound; done += count) {
    running.push(model.predict(input));
    if (running.length === 2) await running.shift();
  }
  await Promise.all(running);
  running = [];
  return (1000 * done) / (performance.now() - start);
}

async function wholeFolder() {
  const start = performance.now();
  let done = 0;
  for await (const { error } of classify.each(model, files, { batch: count })) {
    if (error) throw error;
    done++;
  }
  return (1000 * done) / (performance.now() - start);
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

await engineAlone();
const alone = [];
const all = [];
for (let round = 0; round < Number(rounds); round++) {
  alone.push(await engineAlone());
  all.push(await wholeFolder());
}
await model.dispose();
console.log(`engine alone  ${median(alone).toFixed(1)} images/s`);
console.log(
  `folder        ${median(all).toFixed(1)} images/s, ${perRound * Number(rounds)} photographs, batch ${count}`,
);
console.log(`ratio         ${median(all.map((value, i) => value / alone[i])).toFixed(3)}`);
