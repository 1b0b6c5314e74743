// Whether the calling loop stays free while ResNet-50 computes:
//
//   node bench/event-loop.js [WEIGHTS] [runs]
//
// Prints how late the loop was, p50 and p99 in milliseconds, while the network is compiled, run picture by picture,
// many at once, and in batches of 8.
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createModel, load, resnet50, tensor } from '../packages/residual/dist/index.js';

const [weights, runs = '50'] = process.argv.slice(2);
const record = { architecture: 'resnet50', preprocess: 'custom', plan: [{ step: 'decode', as: 'default' }] };
const model = weights ? await load(weights) : createModel(resnet50(), record);
const outputs = [model.graph.outputs[0].name];
const pictures = (batch) => tensor(new Float32Array(batch * 3 * 224 * 224).fill(0.5), [batch, 3, 224, 224]);

async function measure(name, work) {
  const delay = monitorEventLoopDelay({ resolution: 1 });
  delay.enable();
  await work();
  delay.disable();
  // The histogram counts the timer's own millisecond too.
  const late = (percent) => Math.max(0, delay.percentile(percent) / 1e6 - 1).toFixed(1);
  console.log(`${name.padEnd(22)} p50 ${late(50)} ms, p99 ${late(99)} ms, most ${late(100)} ms`);
}

const count = Number(runs);
await measure('compile', () => model.prepare());
await measure(`${count} runs, one by one`, async () => {
  const one = pictures(1);
  for (let i = 0; i < count; i++) await model.run(one, outputs);
});
await measure(`${count} runs at once`, () => {
  const one = pictures(1);
  return Promise.all(Array.from({ length: count }, () => model.run(one, outputs)));
});
await measure('8 batches of 8', async () => {
  const eight = pictures(8);
  for (let i = 0; i < 8; i++) await model.run(eight, outputs);
});
await model.dispose();
