// One contender in training, started by training.js:
//
//   node bench/contender-training.js ENGINE PRECISION NETWORK
//
// A question `{"batch": 32, "turn": 1000}` is answered by the milliseconds of each step, its update included.
import { createInterface } from 'node:readline';
import { trainingStep } from '../packages/residual/dist/graph/training-step.js';
import { build, initialise, tensor } from '../packages/residual/dist/index.js';
import { optimizers, update } from '../packages/residual/dist/updates/optimizers.js';
import { noisePictures } from './networks.js';

const threads = Number(process.env.THREADS);
const [engine, precision, name] = process.argv.slice(2);
const optimizer = { name: 'sgd', momentum: 0.9, nesterov: false, decay: 1e-4 };

/** The engine's half of training, in this very thread, and what it runs on. */
const engines = {
  async onednn() {
    const { onednnTraining } = await import('../packages/residual/dist/engines/onednn/train.js');
    const { onednn } = await import('../packages/residual/dist/engines/onednn/session.js');
    onednnTraining.begin();
    return { backend: onednnTraining, ...(await onednn.runtime()) };
  },
  async onnx() {
    const { onnxTraining } = await import('../packages/residual/dist/engines/onnx/train.js');
    const { onnx } = await import('../packages/residual/dist/engines/onnx/session.js');
    return { backend: onnxTraining, ...(await onnx.runtime({ threads })) };
  },
  'onnx-wasm'() {
    process.env.RESIDUAL_ORT = 'wasm';
    return engines.onnx();
  },
};

async function prepare(backend, batch) {
  const graph = build(name);
  const side = name === 'resnet20' ? 32 : 224;
  const shape = [batch, 3, side, side];
  const step = trainingStep(graph, { shape, loss: 'crossEntropy', trains: () => true });
  const groups = [{ parameters: step.trained.map((parameter) => parameter.name), rate: 1, decay: 1 }];
  const program = await backend.train(step, initialise(graph, { seed: 1 }), {
    threads,
    precision,
    groups: groups.map(({ parameters }) => parameters),
  });
  const state = Object.fromEntries(optimizers.sgd.state.map((one) => [one, program.array()]));
  const classes = name === 'resnet20' ? 10 : 1000;
  const targets = new Float32Array(batch * classes);
  for (let n = 0; n < batch; n++) targets[n * classes + ((n * 7) % classes)] = 1;
  const inputs = { [graph.inputs[0].name]: noisePictures(shape), targets: tensor(targets, [batch, classes]) };
  let count = 0;
  return {
    async step() {
      const { loss } = await program.run(inputs);
      const { parameters, gradients, slices, combine } = program;
      update(optimizer, groups, program.ranges, 0.01, {
        parameters,
        gradients,
        state,
        slices,
        count: ++count,
        combine,
      });
      return loss.data[0];
    },
    ...(program.convolutions && { convolutions: () => program.convolutions() }),
  };
}

const reply = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const mostRuns = 20;
const prepared = new Map();

async function turn(backend, { batch, turn }) {
  if (!prepared.has(batch)) {
    prepared.set(batch, { ...(await prepare(backend, batch)), last: 0 });
    await prepared.get(batch).step();
  }
  const state = prepared.get(batch);
  // What takes longer than a turn needs no run to warm up.
  if (state.last < turn) await state.step();
  const [times, convolutions] = [[], []];
  let loss;
  const end = performance.now() + turn;
  for (let run = 0; run === 0 || (run < mostRuns && performance.now() < end); run++) {
    const start = performance.now();
    loss = await state.step();
    times.push(performance.now() - start);
    if (state.convolutions) convolutions.push(await state.convolutions());
  }
  state.last = times.at(-1);
  return { times, loss, ...(convolutions.length && { convolutions }) };
}

try {
  const { backend, runtime } = await engines[engine]();
  reply({ runtime });
  for await (const line of createInterface({ input: process.stdin }))
    try {
      reply(await turn(backend, JSON.parse(line)));
    } catch (error) {
      reply({ error: error.message.split('\n')[0] });
    }
  process.exit(0);
} catch (error) {
  console.error(error.message.split('\n')[0]);
  process.exit(1);
}
