// Resident memory of a process that has loaded ResNet-50 and computed, Node included, by engine and precision:
//
//   node bench/memory.js WEIGHTS [--only onednn,…] [--threads 2]
//
// A process each. Memory is read a while after five pictures, when what was let go of is collected; `deterministic` has no
// Winograd. Written to bench/results/memory.json.
import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { arguments_, keepResults } from './results.js';

const options = arguments_({ only: '', threads: `${availableParallelism()}` });
const [weights, engine, precision, table] = options.rest;
if (!weights) {
  console.error('usage: node bench/memory.js WEIGHTS [--only WORDS] [--threads N]');
  process.exit(2);
}

if (engine)
  await measure().catch((error) => {
    console.error(error.message);
    process.exit(1);
  });
else {
  const rows = [];
  const left = [];
  for (const name of ['onnx f32', 'onednn f32', 'onednn f32 deterministic', 'onednn bf16', 'onednn int8']) {
    if (options.only && !options.only.split(',').some((word) => name.includes(word))) continue;
    const command = [fileURLToPath(import.meta.url), weights, ...name.split(' '), '--threads', options.threads];
    try {
      const found = JSON.parse(execFileSync(process.execPath, ['--expose-gc', ...command], { stdio: 'pipe' }));
      rows.push({ name, ...found });
      console.log(`${name.padEnd(24)} ${found.resident.toFixed(0)} MB; at most ${found.most.toFixed(0)} MB`);
    } catch (error) {
      left.push({ name, reason: `${error.stderr ?? error.message}`.trim().split('\n').at(-1) });
      console.error(`${name}: ${left.at(-1).reason}`);
    }
  }
  keepResults('memory', { rows, left });
}

async function measure() {
  const { createModel, load } = await import('../packages/residual/dist/index.js');
  const { noisePictures } = await import('../packages/residual/dist/tasks/bench-networks.js');
  const threads = Number(options.threads);
  let model;
  if (precision === 'int8') {
    const { anyScales } = await import('../packages/residual/dist/graph/eight-bits.js');
    const { planFolding } = await import('../packages/residual/dist/graph/passes.js');
    const loaded = await load(weights);
    const quantisation = anyScales(planFolding(loaded.graph, await loaded.weights()).graph);
    const { graph, record } = loaded;
    const settings = { engine, precision, weights: loaded.weights, threads };
    model = createModel(graph, { ...record, quantisation }, settings);
  } else model = await load(weights, { engine, precision, threads, deterministic: table === 'deterministic' });
  const pictures = noisePictures([1, ...model.graph.inputs[0].shape.slice(1)]);
  for (let i = 0; i < 5; i++) await model.predict(pictures);
  globalThis.gc();
  // The engine's thread collects what it let go of half a second after it has compiled.
  await new Promise((resolve) => setTimeout(resolve, 1500));
  const resident = process.memoryUsage.rss() / 1e6;
  const most = (process.resourceUsage().maxRSS * 1024) / 1e6;
  process.stdout.write(JSON.stringify({ resident, most }));
  await model.dispose();
}
