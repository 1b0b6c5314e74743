import { spawnSync } from 'node:child_process';
import { afterAll, describe, expect, test } from 'vitest';
import type { Graph } from '../../graph/graph.js';
import type { Shape, Tensor, Weights } from '../../tensor.js';
import { difference } from '../check.js';
import type { Executable } from '../engine.js';
import { worker } from '../hosted.js';
import { engines } from '../index.js';
import { noise, noiseTensor, noiseWeights, sketch } from '../sketch.js';

afterAll(() => worker.terminate());

/** Convolutions for which several layouts compete, so that a new shape may want weights laid out anew. */
function network(classes: number): Graph {
  const net = sketch('faults', [1, 3, 16, 16]);
  const attributes = { kernel: [3, 3], stride: [1, 1], padding: 'same', dilation: [1, 1], groups: 1 } as const;
  let x = net.add('conv2d', [net.image], attributes, [[32, 3, 3, 3]]);
  for (let i = 0; i < 3; i++) {
    const conv = net.add('conv2d', [x], attributes, [[32, 32, 3, 3]]);
    x = net.add('relu', [net.add('batchNorm', [conv], { epsilon: 1e-5 }, Array(4).fill([32]))], {});
  }
  const pooled = net.add('globalAvgPool', [x], { keepDims: false });
  return net.finish({ logits: net.add('dense', [pooled], {}, [[classes, 32], [classes]], 'fc') });
}

const image = (shape: Shape, seed = 1): Tensor => noiseTensor(shape, noise(seed));
const run = async (executable: Executable, input: Tensor): Promise<Tensor> =>
  (await executable.run({ image: input })).logits;

/** As many sizes as make plans come and go: a network keeps four. */
const shapes: readonly Shape[] = [5, 8, 11, 14, 17, 20].flatMap((side) => [
  [1, 3, side, side],
  [3, 3, side, 32 - side],
]);

async function answers(graph: Graph, weights: Weights): Promise<readonly Tensor[]> {
  const reference = await engines.reference.compile(graph, { weights });
  const found: Tensor[] = [];
  for (const shape of shapes) found.push(await run(reference, image(shape)));
  await reference.dispose();
  return found;
}

describe('two networks and four callers at once', () => {
  const networks = [4, 7].map((classes) => {
    const graph = network(classes);
    return { graph, weights: noiseWeights(graph, classes) };
  });

  test('all of them get right answers while plans come and go and weights are read again', async () => {
    const executables: Executable[] = [];
    for (const [i, { graph, weights }] of networks.entries())
      executables.push(
        await engines.onednn.compile(graph, {
          threads: i + 1,
          weights: async () => weights,
        }),
      );
    const right = await Promise.all(networks.map(({ graph, weights }) => answers(graph, weights)));
    await Promise.all(
      [0, 1, 2, 3].map(async (caller) => {
        for (let i = 0; i < 2 * shapes.length; i++) {
          const which = (i * (1 + 2 * caller) + 3 * caller) % shapes.length;
          const got = await run(executables[caller % 2], image(shapes[which]));
          expect(difference(got, right[caller % 2][which])).toBeLessThan(1e-5);
        }
      }),
    );
    await Promise.all(executables.map((executable) => executable.dispose()));
  });

  test('a caller that waits for weights is not held up by one that needs none', async () => {
    const [{ graph, weights }] = networks;
    const executable = await engines.onednn.compile(graph, {
      weights: async () => {
        await new Promise((resolve) => setTimeout(resolve, 20));
        return weights;
      },
    });
    const known = image([1, 3, 16, 16]);
    let stop = false;
    const others = [1, 2].map(async () => {
      while (!stop) await run(executable, known);
    });
    for (const shape of shapes) expect((await run(executable, image(shape))).shape).toEqual([shape[0], 4]);
    stop = true;
    await Promise.all(others);
    await executable.dispose();
  });
});

test('disposing waits for a run that reads the weights again, and is done once', async () => {
  const graph = network(4);
  const weights = noiseWeights(graph);
  let reads = 0;
  const executable = await engines.onednn.compile(graph, {
    weights: async () => {
      reads += 1;
      await new Promise((resolve) => setTimeout(resolve, 20));
      return weights;
    },
  });
  // Which layouts a shape wants is measured: one of these differs, as a rule.
  let last: Promise<Tensor> | undefined;
  for (const shape of shapes) {
    last = run(executable, image(shape));
    await Promise.race([last, new Promise((resolve) => setTimeout(resolve, 1))]);
    if (reads > 1) break;
    await last;
  }
  await Promise.all([executable.dispose(), executable.dispose()]);
  expect((await last)?.shape[1]).toBe(4);
  await expect(run(executable, image([1, 3, 16, 16]))).rejects.toMatchObject({ code: 'DISPOSED' });
});

const here = (file: string): string => JSON.stringify(new URL(file, import.meta.url).href);

/** Runs a program that has `engines`, `worker`, a small `network()`, and `image(shape)`, in a process of its own. */
function program(text: string, environment: Record<string, string> = {}) {
  const before = `
    import { engines, chooseEngine } from ${here('../index.js')};
    import { worker } from ${here('../hosted.js')};
    import { checkGraph } from ${here('../check.js')};
    import { noise, noiseTensor, noiseWeights, sketch } from ${here('../sketch.js')};
    const network = checkGraph();
    const weights = noiseWeights(network);
    const image = (shape) => noiseTensor(shape, noise(1));
    const compile = () => engines.onednn.compile(network, { weights });`;
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', before + text], {
    encoding: 'utf8',
    timeout: 50_000,
    env: { ...process.env, ...environment },
  });
  return { status, signal, stdout, stderr };
}

const busy = `
  const executable = await compile();
  for (let i = 0; i < 20; i++) executable.run({ image: image([200 + i, 3, 13, 11]) }).catch(() => {});
  for (let i = 0; i < 20; i++) compile().catch(() => {});`;

describe('a process ends cleanly', () => {
  test('by itself, undisposed, when nothing is left to do', () => {
    const text = `
      const executable = await compile();
      console.log((await executable.run({ image: image([2, 3, 13, 11]) })).probabilities.shape.join());`;
    expect(program(text)).toEqual({ status: 0, signal: null, stdout: '2,5\n', stderr: '' });
  });

  test.each([0, 5, 40])('by process.exit in the middle of runs and compilations, after %i ms', (delay) => {
    const text = `${busy} setTimeout(() => process.exit(7), ${delay});`;
    expect(program(text)).toEqual({ status: 7, signal: null, stdout: '', stderr: '' });
  });

  test('by process.exit while the library is being loaded', () => {
    const text = `compile(); setTimeout(() => process.exit(7), 40);`;
    expect(program(text)).toEqual({ status: 7, signal: null, stdout: '', stderr: '' });
  });

  test('by an error that nobody catches: its own message, code 1', () => {
    const { status, signal, stdout, stderr } = program(`${busy} setTimeout(() => { throw new Error('my own'); }, 5);`);
    expect({ status, signal, stdout }).toEqual({ status: 1, signal: null, stdout: '' });
    expect(stderr).toMatch(/Error: my own/);
    expect(stderr).not.toMatch(/terminate called|Segmentation|FATAL|oneDNN/);
  });

  test('after its worker was terminated in the middle of runs, and started again', () => {
    const text = `${busy}
      const errors = [];
      const pending = executable.run({ image: image([900, 3, 13, 11]) }).catch((error) => errors.push(error));
      await worker.terminate();
      await pending;
      console.log(errors[0].code, errors[0].message);
      console.log((await executable.run({ image: image([2, 3, 13, 11]) })).probabilities.shape.join());
      await worker.terminate();`;
    expect(program(text)).toEqual({
      status: 0,
      signal: null,
      stdout: 'ENGINE the worker thread stopped: it was terminated; the next call starts a new one\n2,5\n',
      stderr: '',
    });
  });
});

describe('out of memory', () => {
  test('more activations than the machine has memory: an error, and the engine goes on', async () => {
    const net = sketch('wide', [1, 1, 8, 8]);
    const around = { kernel: [1, 1], stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 } as const;
    const wide = net.add('conv2d', [net.image], around, [[1024, 1, 1, 1]]);
    const graph = net.finish({ mean: net.add('globalAvgPool', [wide], { keepDims: false }) });
    const executable = await engines.onednn.compile(graph, { weights: noiseWeights(graph), deterministic: true });
    const small = image([1, 1, 8, 8]);
    const before = await executable.run({ image: small });
    // 64 MiB of pictures whose activations are 64 GiB and more.
    const sides = 4096 * Math.max(1, Math.ceil(Math.sqrt(process.availableMemory() / 2 ** 36)));
    const refused = executable.run({ image: image([1, 1, sides, sides]) });
    await expect(refused).rejects.toMatchObject({ code: 'ENGINE', message: /out of memory.*smaller/ });
    expect(await executable.run({ image: small })).toEqual(before);
    await executable.dispose();
  });

  // The process forbids itself to grow past what it has and a little more.
  test.runIf(process.platform === 'linux')('the system refuses memory: an error, and the engine goes on', () => {
    const text = `
      import { readFileSync } from 'node:fs';
      import koffi from 'koffi';
      const setrlimit = koffi.load(null).func('setrlimit', 'int', ['int', 'void *']);
      const net = sketch('wide', [1, 1, 8, 8]);
      const around = { kernel: [3, 3], stride: [1, 1], padding: 'same', dilation: [1, 1], groups: 1 };
      const wide = net.add('conv2d', [net.image], around, [[256, 1, 3, 3]]);
      const graph = net.finish({ mean: net.add('globalAvgPool', [wide], { keepDims: false }) });
      const wideOne = () => engines.onednn.compile(graph, { weights: noiseWeights(graph), deterministic: true });
      const executable = await wideOne();
      const small = image([2, 1, 8, 8]);
      const before = await executable.run({ image: small });
      const large = [256, 512, 1024, 2048].map((side) => image([1, 1, side, side]));
      const pages = Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[0]);
      const addressSpace = 9;
      if (setrlimit(addressSpace, BigUint64Array.of(BigInt(pages) * 4096n + (300n << 20n), 2n ** 64n - 1n)) !== 0)
        throw new Error('setrlimit failed');
      const answered = [];
      for (const image of large)
        answered.push(await executable.run({ image }).then(() => 'ok', ({ code, message }) => code + ' ' + message));
      console.log(answered.filter((answer) => answer !== 'ok').at(-1));
      const after = await executable.run({ image: small });
      console.log(after.mean.data.every((x, i) => x === before.mean.data[i]));
      const again = await wideOne();
      console.log((await again.run({ image: small })).mean.shape.join());`;
    expect(program(text)).toEqual({
      status: 0,
      signal: null,
      stdout: expect.stringMatching(/^ENGINE oneDNN.*out of memory.*\ntrue\n2,256\n$/) as string,
      stderr: '',
    });
  });
});

test('a file of the library that is not there: auto takes another engine, onednn says what to do', () => {
  const text = `
    const taken = await chooseEngine('auto').available();
    console.log(taken.ok, taken.runtime);
    const auto = await chooseEngine('auto').compile(network, { weights });
    console.log((await auto.run({ image: image([2, 3, 13, 11]) })).probabilities.shape.join());
    await compile().catch(({ code, message }) => console.log(code, message));`;
  expect(program(text, { RESIDUAL_ONEDNN: '/nope' })).toEqual({
    status: 0,
    signal: null,
    stdout: expect.stringMatching(
      /^true onnxruntime-node \S+\n2,5\nENGINE .*RESIDUAL_ONEDNN names \/nope, which does not exist; set it/,
    ) as string,
    stderr: '',
  });
});
