// One contender under Node, started by the other programs here (see contenders.js):
//
//   node bench/contender.js residual ENGINE PRECISION NETWORK
//   node bench/contender.js ort FILE.onnx
//   node bench/contender.js ort-web FILE.onnx
//   node bench/contender.js tfjs NETWORK
//
// A question `{"batch": 8, "turn": 250}` is answered by the milliseconds of each run.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { build, noisePictures } from './networks.js';

const threads = Number(process.env.THREADS);
const [kind, ...args] = process.argv.slice(2);

/** Each answers with what it runs on, and a function that does one run; what that returns goes with the answer. */
const kinds = { residual, ort, 'ort-web': ortWeb, tfjs };

async function residual(engine, precision, name) {
  const { chooseEngine } = await import('../packages/residual/dist/engines/index.js');
  const { anyScales } = await import('../packages/residual/dist/graph/eight-bits.js');
  const { planFolding } = await import('../packages/residual/dist/graph/passes.js');
  const { graph, weights } = await build(name);
  const chosen = chooseEngine(engine);
  const found = await chosen.available();
  if (!found.ok) throw new Error(found.reason);
  const eight = precision === 'int8' ? { quantisation: anyScales(planFolding(graph, weights).graph) } : {};
  const executable = await chosen.compile(graph, { weights, threads, precision, ...eight });
  return {
    runtime: found.runtime,
    async prepare(batch) {
      const inputs = { [graph.inputs[0].name]: noisePictures([batch, 3, 224, 224]) };
      return {
        run: () => executable.run(inputs),
        // What the engine says of itself: its own time, and its convolutions alone.
        inside: () => executable.measure(inputs),
      };
    },
  };
}

/** As ONNX Runtime's own examples do: a session with its default settings, but the threads. */
async function ort(file, { default: ort } = {}) {
  ort ??= (await import('onnxruntime-node')).default;
  const session = await ort.InferenceSession.create(file, { intraOpNumThreads: threads });
  return { runtime: `onnxruntime-node ${ort.env.versions.node}`, prepare: (batch) => session_(ort, session, batch) };
}

async function ortWeb(file) {
  const ort = await import('onnxruntime-web');
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = 'error';
  const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(file)), {
    executionProviders: ['wasm'],
  });
  return { runtime: `onnxruntime-web ${ort.env.versions.web}`, prepare: (batch) => session_(ort, session, batch) };
}

function session_(ort, session, batch) {
  const shape = [batch, 3, 224, 224];
  const feeds = {
    [session.inputNames[0]]: new ort.Tensor('float32', new Float32Array(noisePictures(shape).data), shape),
  };
  return { run: () => session.run(feeds) };
}

async function tfjs(name) {
  const { network } = await import('./network-tfjs.js');
  return network(await build(name), threads);
}

const reply = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);
const prepared = new Map();
const mostRuns = 20;

async function time(work) {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function turn(contender, { batch, turn }) {
  if (!prepared.has(batch)) {
    const made = await contender.prepare(batch);
    // The first run of all compiles.
    await made.run();
    prepared.set(batch, { ...made, last: 0 });
  }
  const state = prepared.get(batch);
  // What takes longer than a turn needs no run to warm up.
  if (state.last < turn) await state.run();
  const times = [];
  const measured = [];
  const end = performance.now() + turn;
  for (let run = 0; run === 0 || (run < mostRuns && performance.now() < end); run++) {
    times.push(await time(state.run));
    if (state.inside) measured.push(await state.inside());
  }
  state.last = times.at(-1);
  return { times, ...(state.inside && { measured }) };
}

try {
  const contender = await kinds[kind](...args);
  reply({ runtime: contender.runtime });
  for await (const line of createInterface({ input: process.stdin }))
    try {
      reply(await turn(contender, JSON.parse(line)));
    } catch (error) {
      reply({ error: error.message.split('\n')[0] });
    }
  process.exit(0);
} catch (error) {
  console.error(error.message.split('\n')[0]);
  process.exit(1);
}
