// Whether loading and disposing leaks:
//
//   node bench/load-dispose.js WEIGHTS [cycles]
//
// Loads a weight file, computes once and disposes, again and again, and prints the resident memory over every 20
// cycles. One reading says little: the C library keeps freed memory in pools of 64 MB, which fill during the first
// cycles. A leak raises the medians ever on; flat is right.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { load, tensor } from '../packages/residual/dist/index.js';

const [weights, cycles = '100'] = process.argv.slice(2);
if (!weights) {
  console.error('usage: node bench/load-dispose.js WEIGHTS [CYCLES]');
  process.exit(2);
}
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');
const medians = [];
let readings = [];
for (let i = 1; i <= Number(cycles); i++) {
  const model = await load(weights);
  const { shape } = model.graph.inputs[0];
  const size = shape.reduce((a, b) => a * b);
  const picture = Float32Array.from({ length: size }, (_, i) => Math.sin(i));
  await model.predict(tensor(picture, shape));
  await model.dispose();
  collectGarbage();
  readings.push(process.memoryUsage().rss / 1e6);
  if (i % 20 !== 0) continue;
  readings.sort((a, b) => a - b);
  medians.push(readings[10]);
  console.log(
    `cycles ${i - 19} to ${i}: resident MB least ${readings[0].toFixed(0)}, median ${readings[10].toFixed(0)}`,
  );
  readings = [];
}
if (medians.length > 2)
  console.log(`median of the last 20 cycles over that of cycles 21 to 40: ${(medians.at(-1) / medians[1]).toFixed(3)}`);
