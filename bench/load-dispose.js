// Whether loading and disposing leaks: node bench/load-dispose.js [cycles] [engine]
// Compiles ResNet-18 with new weights, runs it once and disposes it, again and again, and prints the resident memory
// over every 20 cycles. One reading says little: the C library keeps freed memory in pools of 64 MB, which fill during
// the first cycles. A leak raises the medians ever on; flat is right.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { chooseEngine } from '../packages/residual/dist/engines/index.js';
import { pictures, resident, resnet18 } from './network.js';

const cycles = Number(process.argv[2] ?? 100);
const engine = chooseEngine(process.argv[3] ?? 'auto');
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');
const image = pictures(1);
const medians = [];
let readings = [];
for (let i = 1; i <= cycles; i++) {
  const { graph, weights } = resnet18();
  const executable = await engine.compile(graph, { weights });
  await executable.run({ image });
  await executable.dispose();
  collectGarbage();
  readings.push(resident());
  if (i % 20 !== 0) continue;
  readings.sort((a, b) => a - b);
  medians.push(readings[10]);
  console.log(
    `cycles ${i - 19} to ${i}: resident MB least ${readings[0].toFixed(0)}, median ${readings[10].toFixed(0)}`,
  );
  readings = [];
}
console.log(`median of the last 20 cycles over that of cycles 21 to 40: ${(medians.at(-1) / medians[1]).toFixed(3)}`);
