// Whether the engine onednn keeps memory that it should give back:
//
//   node bench/onednn-memory.js [--runs 10000] [--shapes 400] [--loads 200]
//
// One process: runs of a small network; the same network for pictures of many sizes, of which it keeps four plans, the
// same sizes in each quarter; a saved ResNet-18 loaded, run once and disposed, again and again.
//
// For each quarter it prints the resident memory, and of it what is held: what was asked of the C library (by us, the
// engine's library and Node) and not given back. What leaks is held; what is resident besides are gaps between blocks of
// many sizes, which the C library keeps for later. The engine's library keeps 1,024 primitives for itself: they are
// held until others take their place, so the first quarter may hold less. At the end it says what is left when those
// are thrown out and the gaps given back.
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { worker } from '../packages/residual/dist/engines/hosted.js';
import { engines } from '../packages/residual/dist/engines/index.js';
import { load, save, tensor } from '../packages/residual/dist/index.js';
import { build, cache, noisePictures } from './networks.js';
import { arguments_ } from './results.js';

// The worker's garbage is collected soon after a plan or a model goes.
const settle = () => new Promise((done) => setTimeout(done, 500));
const { runs, shapes, loads } = arguments_({ runs: '10000', shapes: '400', loads: '200' });
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');

// The packages of the library, not of this folder.
const koffi = createRequire(import.meta.resolve('../packages/residual/dist/index.js'))('koffi');
const c = koffi.load(null);
const names = [
  'arena',
  'ordblks',
  'smblks',
  'hblks',
  'hblkhd',
  'usmblks',
  'fsmblks',
  'uordblks',
  'fordblks',
  'keepcost',
];
const mallinfo2 = c.func(
  'mallinfo2',
  koffi.struct('mallinfo2', Object.fromEntries(names.map((n) => [n, 'size_t']))),
  [],
);
const trim = c.func('malloc_trim', 'int', ['size_t']);

/** Megabytes that were asked of glibc's malloc, in all threads, and not freed. */
function held() {
  const { uordblks, hblkhd } = mallinfo2();
  return (Number(uordblks) + Number(hblkhd)) / 1e6;
}
const resident = () => process.memoryUsage.rss() / 1e6;

/** Does it so often, and prints the median of the resident memory in each quarter, and what is held at its end. */
async function watch(name, count, work) {
  const medians = [];
  const holds = [];
  for (let quarter = 0; quarter < 4; quarter++) {
    const readings = [];
    for (let i = 0; i < count / 4; i++) {
      await work((quarter * count) / 4 + i);
      readings.push(resident());
    }
    collectGarbage();
    await settle();
    holds.push(held().toFixed(1));
    medians.push(readings.toSorted((a, b) => a - b)[readings.length >> 1].toFixed(0));
  }
  console.log(
    `${`${count} ${name}`.padEnd(14)} MB by quarters: resident ${medians.join(', ')}; held ${holds.join(', ')}`,
  );
}

const { runtime } = await engines.onednn.available();
console.log(runtime);
const { graph, weights } = await build('resnet20');
const small = await engines.onednn.compile(graph, { weights, deterministic: true });
const [{ name, shape }] = graph.inputs;
const picture = noisePictures(shape);
await watch('runs', Number(runs), () => small.run({ [name]: picture }));
const distinct = Number(shapes);
await watch('shapes', 4 * distinct, (i) =>
  small.run({ [name]: noisePictures([1, 3, 16 + (i % 20) * 4, 16 + (Math.floor((i % distinct) / 20) % 20) * 4]) }),
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
await settle();
// In the process, though not through the engine: what the library keeps belongs to all threads.
const [library] = readFileSync('/proc/self/maps', 'utf8').match(/\/\S*libdnnl\S*/);
koffi.load(library).func('dnnl_set_primitive_cache_capacity', 'int', ['int'])(0);
trim(0);
console.log(
  `with the library's own primitives thrown out and gaps given back: resident ${resident().toFixed(0)}, held ${held().toFixed(1)}`,
);
await worker.terminate();
