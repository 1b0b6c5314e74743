// Whether the engine onednn keeps memory that it should give back:
//
//   node bench/onednn-memory.js [--runs 10000] [--shapes 400] [--loads 200]
//
// One process: runs of a small network; the same network for pictures of many sizes, of which it keeps four plans; a
// saved ResNet-18 loaded, run once and disposed, again and again. Prints the resident memory of each quarter. Memory
// rises at first (the library keeps 1,024 primitives for itself, the C library pools); flat is right then.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { worker } from '../packages/residual/dist/engines/hosted.js';
import { engines } from '../packages/residual/dist/engines/index.js';
import { load, save, tensor } from '../packages/residual/dist/index.js';
import { build, cache, noisePictures } from './networks.js';
import { arguments_ } from './results.js';

const { runs, shapes, loads } = arguments_({ runs: '10000', shapes: '400', loads: '200' });
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');

/** Does it so often, and prints the median of the resident memory in each quarter. */
async function watch(name, count, work) {
  const medians = [];
  for (let quarter = 0; quarter < 4; quarter++) {
    const readings = [];
    for (let i = 0; i < count / 4; i++) {
      await work((quarter * count) / 4 + i);
      readings.push(process.memoryUsage.rss() / 1e6);
    }
    collectGarbage();
    medians.push(readings.toSorted((a, b) => a - b)[readings.length >> 1].toFixed(0));
  }
  const now = (process.memoryUsage.rss() / 1e6).toFixed(0);
  console.log(`${`${count} ${name}`.padEnd(14)} resident MB by quarters: ${medians.join(', ')}; at the end ${now}`);
}

const { runtime } = await engines.onednn.available();
console.log(runtime);
const { graph, weights } = await build('resnet20');
const small = await engines.onednn.compile(graph, { weights, deterministic: true });
const [{ name, shape }] = graph.inputs;
const picture = noisePictures(shape);
await watch('runs', Number(runs), () => small.run({ [name]: picture }));
await watch('shapes', Number(shapes), (i) =>
  small.run({ [name]: noisePictures([1, 3, 16 + (i % 20) * 4, 16 + (Math.floor(i / 20) % 20) * 4]) }),
);
await small.dispose();

const file = join(cache, 'resnet18.safetensors');
mkdirSync(cache, { recursive: true });
const record = { architecture: 'resnet18', preprocess: 'custom', plan: [{ step: 'decode', as: 'default' }] };
await save({ ...(await build('resnet18')), record }, file);
const photograph = tensor(new Float32Array(3 * 224 * 224).fill(128), [1, 3, 224, 224]);
await watch('loads', Number(loads), async () => {
  const model = await load(file, { engine: 'onednn' });
  await model.predict(photograph);
  await model.dispose();
});
await worker.terminate();
