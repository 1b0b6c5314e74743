// How long the event loop is held up while ResNet-50 is loaded and run: node bench/event-loop.js [runs] [engine]
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { chooseEngine } from '../packages/residual/dist/engines/index.js';
import { pictures, resnet50 } from './network.js';

const runs = Number(process.argv[2] ?? 100);
const engine = chooseEngine(process.argv[3] ?? 'auto');
const { graph, weights } = resnet50();
const image = pictures(1);

/** Delays in ms beyond the timer's own resolution, while `work` goes on. */
async function delays(title, work) {
  const monitor = monitorEventLoopDelay({ resolution: 1 });
  await sleep(20);
  monitor.enable();
  const start = performance.now();
  const result = await work();
  const took = performance.now() - start;
  monitor.disable();
  const at = (share) => (monitor.percentile(share) / 1e6 - 1).toFixed(1);
  console.log(`${title}: ${took.toFixed(0)} ms, loop delay p50 ${at(50)} p99 ${at(99)} max ${at(100)} ms`);
  return result;
}

await engine.available();
const executable = await delays('compile', () => engine.compile(graph, { weights }));
await executable.run({ image });
await delays(`${runs} runs, one at a time`, async () => {
  for (let i = 0; i < runs; i++) await executable.run({ image });
});
await delays(`${runs} runs at once`, () => Promise.all(Array.from({ length: runs }, () => executable.run({ image }))));
const batch = pictures(8);
await executable.run({ image: batch });
await delays('10 runs of batch 8', async () => {
  for (let i = 0; i < 10; i++) await executable.run({ image: batch });
});
await executable.dispose();
