import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, test } from 'vitest';
import type { Graph } from '../graph/graph.js';
import { type Shape, type Tensor, tensor, type Weights } from '../tensor.js';
import { difference } from './check.js';
import type { Engine } from './engine.js';
import { worker } from './hosted.js';
import { chooseEngine, engineReport, engines } from './index.js';
import { noise, noiseTensor, noiseWeights, sketch } from './sketch.js';

afterAll(() => worker.terminate());

/** image [1, 3, 8, 8] → conv → BatchNorm → relu (feature) → mean → dense; `depth` more convolutions make it slower. */
function network(depth = 0, classes = 4): Graph {
  const net = sketch('little', [1, 3, 8, 8]);
  const attributes = { kernel: [3, 3], stride: [1, 1], padding: 'same', dilation: [1, 1], groups: 1 } as const;
  const conv = net.add('conv2d', [net.image], attributes, [[8, 3, 3, 3]], 'conv');
  const bn = net.add('batchNorm', [conv], { epsilon: 1e-5 }, Array(4).fill([8]), 'bn');
  let x = net.add('relu', [bn], {}, [], 'relu');
  for (let i = 0; i < depth; i++) x = net.add('conv2d', [x], attributes, [[8, 8, 3, 3]]);
  const pooled = net.add('globalAvgPool', [x], { keepDims: false }, [], 'pool');
  const graph = net.finish({ logits: net.add('dense', [pooled], {}, [[classes, 8], [classes]], 'fc') });
  return { ...graph, features: { stem: bn } };
}

const image = (shape: Shape = [1, 3, 8, 8], seed = 1): Tensor => noiseTensor(shape, noise(seed));
const unshared = (t: Tensor): Tensor => tensor(new Float32Array(t.data), t.shape);

async function logits(engine: Engine, graph: Graph, weights: Weights, input: Tensor): Promise<Tensor> {
  const executable = await engine.compile(graph, { weights });
  const { logits } = await executable.run({ image: input });
  await executable.dispose();
  return logits;
}

describe.each(Object.values(engines))('$name', (engine) => {
  const graph = network();
  const weights = noiseWeights(graph);

  test('takes any batch and any size, shared memory or not, and leaves the input alone', async () => {
    const executable = await engine.compile(graph, { weights });
    for (const shape of [
      [1, 3, 8, 8],
      [5, 3, 8, 8],
      [2, 3, 11, 5],
    ] as const) {
      const input = image(shape);
      const copy = unshared(input);
      const shared = await executable.run({ image: input });
      const plain = await executable.run({ image: copy });
      expect(shared.logits.shape).toEqual([shape[0], 4]);
      expect(shared).toEqual(plain);
      expect(copy.data).toEqual(input.data);
    }
    await executable.dispose();
  });

  test('an answer does not depend on the other pictures of the batch', async () => {
    const executable = await engine.compile(graph, { weights });
    const batch = image([3, 3, 8, 8]);
    const { logits } = await executable.run({ image: batch });
    for (let n = 0; n < 3; n++) {
      const one = tensor(batch.data.slice(n * 192, (n + 1) * 192), [1, 3, 8, 8]);
      const alone = (await executable.run({ image: one })).logits;
      expect(difference(alone, tensor(logits.data.slice(n * 4, (n + 1) * 4), [1, 4]))).toBeLessThan(1e-6);
    }
    await executable.dispose();
  });

  test('gives outputs, features and layers by name', async () => {
    const outputs = ['logits', 'stem', 'conv', 'fc'];
    const executable = await engine.compile(graph, { weights, outputs });
    const results = await executable.run({ image: image() });
    expect(Object.keys(results)).toEqual(outputs);
    expect(results.fc.data).toEqual(results.logits.data);
    expect(results.stem.shape).toEqual([1, 8, 8, 8]);
    const alone = await logits(engine, graph, weights, image());
    expect(difference(results.logits, alone)).toBeLessThan(1e-6);
    await executable.dispose();
  });

  test('an input view of a larger buffer is read as a view', async () => {
    const large = new Float32Array(1000).fill(9);
    large.set(image().data, 100);
    const view = tensor(large.subarray(100, 292), [1, 3, 8, 8]);
    expect(await logits(engine, graph, weights, view)).toEqual(await logits(engine, graph, weights, image()));
    expect(large.length).toBe(1000);
  });

  test('several networks live side by side, runs at once are answered each', async () => {
    const executables = await Promise.all(
      [1, 2, 3].map((seed) => engine.compile(graph, { weights: noiseWeights(graph, seed) })),
    );
    const alone: Tensor[] = [];
    for (const executable of executables) alone.push((await executable.run({ image: image() })).logits);
    const together = await Promise.all(
      [...executables, ...executables].map((executable) => executable.run({ image: image() })),
    );
    together.forEach((result, i) => {
      expect(result.logits).toEqual(alone[i % 3]);
    });
    expect(alone[0]).not.toEqual(alone[1]);
    await executables[0].dispose();
    expect((await executables[1].run({ image: image() })).logits).toEqual(alone[1]);
    await Promise.all(executables.map((executable) => executable.dispose()));
  });

  test('disposing waits for runs under way; afterwards a run is refused; twice is once', async () => {
    const executable = await engine.compile(graph, { weights });
    const running = executable.run({ image: image() });
    await Promise.all([executable.dispose(), executable.dispose()]);
    expect((await running).logits.shape).toEqual([1, 4]);
    await expect(executable.run({ image: image() })).rejects.toMatchObject({ code: 'DISPOSED' });
  });

  test('a queued run that is aborted is not done', async () => {
    const executable = await engine.compile(graph, { weights });
    const controller = new AbortController();
    const first = executable.run({ image: image([64, 3, 32, 32]) });
    const second = executable.run({ image: image() }, { signal: controller.signal });
    controller.abort();
    await expect(second).rejects.toMatchObject({ code: 'ABORTED' });
    expect((await first).logits.shape).toEqual([64, 4]);
    await executable.dispose();
  });

  test('when the worker is lost, what was pending is rejected and the next run starts anew', async () => {
    const executable = await engine.compile(graph, { weights });
    const before = await executable.run({ image: image() });
    const pending = executable.run({ image: image([64, 3, 32, 32]) });
    const refused = expect(pending).rejects.toMatchObject({ code: 'ENGINE', message: /terminated/ });
    await worker.terminate();
    await refused;
    expect(await executable.run({ image: image() })).toEqual(before);
    await executable.dispose();
  });

  test('NaN goes through', async () => {
    const spoilt = image();
    spoilt.data[0] = Number.NaN;
    const { shape, data } = await logits(engine, graph, weights, spoilt);
    expect(shape).toEqual([1, 4]);
    expect(data.every(Number.isNaN)).toBe(true);
  });

  test('a picture of NaN leaves its neighbours alone', async () => {
    const two = image([2, 3, 8, 8]);
    const sound = await logits(engine, graph, weights, two);
    two.data[0] = Number.NaN;
    const { data } = await logits(engine, graph, weights, two);
    expect(data.subarray(0, 4).every(Number.isNaN)).toBe(true);
    expect(data.subarray(4)).toEqual(sound.data.subarray(4));
  });

  test.each([
    ['a missing input', {}, 'GRAPH', /input "image" of little must be \[N, 3, H, W\] in float32 but is missing/],
    ['an unknown input', { image: image(), imgae: image() }, 'UNKNOWN_NAME', /did you mean "image"/],
    ['another rank', { image: image([3, 8, 8]) }, 'GRAPH', /\[N, 3, H, W\].*received \[3, 8, 8\]/],
    ['other channels', { image: image([1, 8, 8, 3]) }, 'GRAPH', /\[N, 3, H, W\].*received \[1, 8, 8, 3\]/],
    ['no pictures', { image: image([0, 3, 8, 8]) }, 'GRAPH', /received \[0, 3, 8, 8\]/],
    ['too few numbers', { image: { ...image(), data: new Float32Array(5) } }, 'GRAPH', /\[1, 3, 8, 8\] with 5 numbers/],
    ['bytes', { image: { ...image(), dtype: 'uint8', data: new Uint8Array(192) } }, 'GRAPH', /numbers of type uint8/],
  ])('refuses %s', async (_, inputs, code, message) => {
    const executable = await engine.compile(graph, { weights });
    await expect(executable.run(inputs as unknown as Record<string, Tensor>)).rejects.toMatchObject({ code, message });
    await executable.dispose();
  });

  test('refuses a picture too small for the network, by layer', async () => {
    const net = sketch('valid', [1, 3, 8, 8]);
    const attributes = { kernel: [3, 3], stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } as const;
    const small = net.finish({ out: net.add('conv2d', [net.image], attributes, [[1, 3, 3, 3]], 'conv1') });
    const executable = await engine.compile(small, { weights: noiseWeights(small) });
    await expect(executable.run({ image: image([1, 3, 2, 2]) })).rejects.toMatchObject({
      code: 'GRAPH',
      message: /"conv1"/,
    });
    await executable.dispose();
  });

  test('refuses weights that are missing or misshapen, unknown outputs, and bad options', async () => {
    const compile = (options: object) => engine.compile(graph, { weights, ...options });
    const less = new Map(weights);
    less.delete('fc.bias');
    await expect(compile({ weights: less })).rejects.toMatchObject({ code: 'WEIGHTS_MISMATCH', message: /"fc\.bias"/ });
    const other = new Map(weights).set('fc.bias', tensor([1], [1]));
    await expect(compile({ weights: other })).rejects.toMatchObject({
      code: 'WEIGHTS_MISMATCH',
      message: /must be \[4\] but received \[1\]/,
    });
    await expect(compile({ outputs: ['stern'] })).rejects.toMatchObject({ code: 'UNKNOWN_NAME', message: /"stem"/ });
    await expect(compile({ threads: 0.5 })).rejects.toMatchObject({ code: 'ARGUMENT' });
    await expect(compile({ precision: 'f8' })).rejects.toMatchObject({ code: 'ARGUMENT' });
    if (engine.name !== 'onednn')
      await expect(compile({ precision: 'bf16' })).rejects.toMatchObject({
        code: 'ENGINE',
        message: /it has: f32, int8/,
      });
    await expect(compile({ precision: 'int8' })).rejects.toMatchObject({
      code: 'ARGUMENT',
      message: /residual quantize/,
    });
    await expect(compile({ device: 'abacus' })).rejects.toMatchObject({
      code: 'ENGINE',
      message: /abacus.*it has: cpu/,
    });
  });

  test('the event loop turns while a run goes on', async () => {
    const slow = network(8);
    const executable = await engine.compile(slow, { weights: noiseWeights(slow) });
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const batch = image([engine.name === 'reference' ? 2 : 100, 3, 64, 64]);
    // A blocked loop would tick at most once a run, however long the run takes.
    let most = 0;
    for (let i = 0; i < 3; i++) {
      const before = ticks;
      await executable.run({ image: batch });
      most = Math.max(most, ticks - before);
    }
    clearInterval(timer);
    expect(most).toBeGreaterThan(2);
    await executable.dispose();
  });
});

test('engines are chosen by name', () => {
  expect(chooseEngine().name).toBe('auto');
  expect(chooseEngine('onednn').name).toBe('onednn');
  expect(chooseEngine('reference').name).toBe('reference');
  expect(() => chooseEngine('onx' as 'onnx')).toThrow(/did you mean "onnx"/);
  expect(() => chooseEngine('toString' as 'onnx')).toThrow(/unknown engine/);
});

test('the report names what runs and how far it is off', async () => {
  const { processor, engines: facts } = await engineReport();
  expect(processor.cores).toBeGreaterThan(0);
  expect(facts.map(({ engine, ok }) => [engine, ok])).toEqual([
    ['onednn', true],
    ['onnx', true],
    ['reference', true],
  ]);
  expect(facts[0].runtime).toMatch(/^oneDNN \d+\.\d+\.\d+ \(\w+\)/);
  expect(facts[0].selfCheck).toBeLessThan(1e-5);
  expect(facts[1].runtime).toMatch(/^onnxruntime-node \d+\.\d+/);
  expect(facts[1].selfCheck).toBeLessThan(1e-5);
});

/** Runs the library in a process of its own; `RESIDUAL_ORT` chooses the package. */
function program(environment: Record<string, string>): { status: number | null; stdout: string; stderr: string } {
  const here = (file: string) => JSON.stringify(new URL(file, import.meta.url).href);
  const text = `
    import { engines, engineReport } from ${here('./index.js')};
    import { checkGraph } from ${here('./check.js')};
    import { noise, noiseTensor, noiseWeights } from ${here('./sketch.js')};
    const graph = checkGraph();
    const image = noiseTensor([2, 3, 13, 11], noise(7));
    const run = async (engine) => (await (await engine.compile(graph, { weights: noiseWeights(graph), threads: 2 })).run({ image })).probabilities.data;
    const [a, b] = [await run(engines.onnx), await run(engines.reference)];
    console.log((await engines.onnx.available()).runtime, a.every((x, i) => Math.abs(x - b[i]) < 1e-5));`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', text], {
    encoding: 'utf8',
    timeout: 50_000,
    env: { ...process.env, ...environment },
  });
  return { status, stdout, stderr };
}

describe('a process of its own ends by itself, undisposed, and prints nothing else', () => {
  test('native', () => {
    expect(program({})).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^onnxruntime-node \S+ true\n$/) as string,
      stderr: '',
    });
  });

  test('WebAssembly in place of the native package', () => {
    expect(program({ RESIDUAL_ORT: 'wasm' })).toEqual({
      status: 0,
      stdout: expect.stringMatching(/^onnxruntime-web \S+ \(WebAssembly\) true\n$/) as string,
      stderr: '',
    });
  });
});

test('a process that exits in the middle of a run, or of loading, exits as told', () => {
  const text = `
    import { engines } from ${JSON.stringify(new URL('./index.js', import.meta.url).href)};
    import { checkGraph } from ${JSON.stringify(new URL('./check.js', import.meta.url).href)};
    import { noise, noiseTensor, noiseWeights } from ${JSON.stringify(new URL('./sketch.js', import.meta.url).href)};
    const graph = checkGraph();
    const executable = await engines.onnx.compile(graph, { weights: noiseWeights(graph) });
    for (let i = 0; i < 20; i++) executable.run({ image: noiseTensor([200, 3, 13, 11], noise(i)) });
    for (let i = 0; i < 20; i++) engines.onnx.compile(graph, { weights: noiseWeights(graph) });
    setTimeout(() => process.exit(7), Number(process.argv[1]));`;
  for (const delay of [0, 5, 20, 60]) {
    const { status, signal, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', text, `${delay}`], {
      encoding: 'utf8',
      timeout: 50_000,
    });
    expect({ delay, status, signal, stderr }).toEqual({ delay, status: 7, signal: null, stderr: '' });
  }
});

test('without any package the errors say what to install; reference works', () => {
  const folder = mkdtempSync(join(tmpdir(), 'residual-'));
  try {
    const built = dirname(dirname(fileURLToPath(import.meta.url)));
    const modules = join(dirname(dirname(dirname(built))), 'node_modules');
    cpSync(built, join(folder, 'dist'), { recursive: true });
    cpSync(join(dirname(built), 'package.json'), join(folder, 'package.json'));
    mkdirSync(join(folder, 'node_modules'));
    symlinkSync(join(modules, 'pbf'), join(folder, 'node_modules', 'pbf'));
    const text = `
      import { engineReport } from './dist/engines/index.js';
      console.log(JSON.stringify((await engineReport()).engines));`;
    const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', text], {
      cwd: folder,
      encoding: 'utf8',
      timeout: 50_000,
    });
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toMatchObject([
      { engine: 'onednn', ok: false, reason: expect.stringContaining('npm install koffi') },
      { engine: 'onnx', ok: false, reason: expect.stringContaining('npm install onnxruntime-node') },
      { engine: 'reference', ok: true },
    ]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
