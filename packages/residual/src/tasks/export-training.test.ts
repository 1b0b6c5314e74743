import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { afterAll, describe, expect, test } from 'vitest';
import { difference } from '../engines/check.js';
import { referenceTraining } from '../engines/reference/train.js';
import { noise, noiseTensor, noiseWeights } from '../engines/sketch.js';
import { isTrainable } from '../graph/graph.js';
import { type Loss, trainingStep } from '../graph/training-step.js';
import { preset } from '../image/presets.js';
import { build, type FamilyName, type ResNetOptions } from '../models/resnet.js';
import { type Tensor, tensor } from '../tensor.js';
import { pythonJson, shared, temporaryFolder } from '../testing.js';
import { update } from '../updates/optimizers.js';
import { convert } from './convert.js';
import { exportTrainingStep, trainingStepModel } from './export-training.js';
import { createModel } from './model.js';
import { save } from './save.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (name: string) => join(folder.path, name);

const small: ResNetOptions = { classes: 3, size: 32, width: 8, widthPerGroup: 8, depths: [1, 1] };
const networks: [FamilyName, ResNetOptions, Loss][] = [
  ['resnet20', { classes: 3, size: 12, depths: [1, 1, 1] }, 'crossEntropy'],
  ['resnet50', { ...small, dropout: 0.3 }, 'crossEntropy'],
  ['keras-resnet50v2', small, 'binaryCrossEntropy'],
];
const batch = 6;
const settings = { momentum: 0.8, decay: 0.01 };

function modelOf(name: FamilyName, options: ResNetOptions) {
  const graph = build(name, options);
  const plan = preset('torchvision', { height: 32, width: 32 });
  return createModel(
    graph,
    { architecture: name, preprocess: 'torchvision', plan },
    { weights: noiseWeights(graph, 5) },
  );
}

describe('ONNX Runtime alone trains by the file as reference does', () => {
  test.each(networks)('%s %o %s', async (name, options, loss) => {
    await using model = modelOf(name, options);
    const weights = await model.weights();
    const [picture] = model.graph.inputs;
    const step = trainingStep(model.graph, {
      shape: [batch, ...picture.shape.slice(1)],
      loss,
      trains: isTrainable,
    });
    const rate = 0.01;
    const rounds = Array.from({ length: 4 }, (_, i) => batchOf(step.graph.inputs, i));

    await exportTrainingStep(model, at('step.onnx'), { batch, loss, ...settings });
    const found = await trainByFile(at('step.onnx'), weights, rounds, rate);

    // The same by our own truth.
    const decays = step.trained.filter(({ role }) => role === 'weight').map((one) => one.name);
    const groups = [
      { parameters: decays, rate: 1, decay: 1 },
      { parameters: step.trained.map((one) => one.name).filter((one) => !decays.includes(one)), rate: 1, decay: 0 },
    ];
    const judge = await referenceTraining.train(step, weights, { groups: groups.map((group) => group.parameters) });
    const { parameters, gradients, ranges, slices, combine } = judge;
    const state = { momentum: judge.array() };
    const running = new Map(
      step.measured.flatMap(({ mean, variance }) =>
        [mean, variance].map((one) => [one, Float64Array.from(weights.get(one)?.data ?? [])]),
      ),
    );
    const losses: number[] = [];
    for (const [i, inputs] of rounds.entries()) {
      const results = await judge.run(inputs);
      losses.push(results.loss.data[0]);
      const sgd = { name: 'sgd', nesterov: false, ...settings } as const;
      update(sgd, groups, ranges, rate, { parameters, gradients, state, slices, combine, count: i + 1 });
      for (const { mean, variance, count } of step.measured)
        for (const [one, factor] of [
          [mean, 1],
          [variance, count / (count - 1)],
        ] as const)
          running.get(one)?.forEach((x, c, all) => {
            all[c] = 0.9 * x + 0.1 * factor * results[one].data[c];
          });
    }
    expect(new Set(losses).size).toBe(4);
    found.losses.forEach((one, i) => {
      expect(Math.abs(one / losses[i] - 1)).toBeLessThan(1e-4);
    });
    for (const one of step.trained) {
      expect(difference(found.state[one.name], judge.read(parameters, one.name)), one.name).toBeLessThan(1e-3);
      const momentum = judge.read(state.momentum, one.name);
      const apart = found.state[`${one.name}.momentum`].data.map((x, i) => Math.abs(x - momentum.data[i]));
      expect(Math.max(...apart), one.name).toBeLessThan(1e-3 * Math.max(1, ...momentum.data.map(Math.abs)));
    }
    for (const [one, data] of running)
      expect(difference(found.state[one], tensor(Float32Array.from(data), [data.length])), one).toBeLessThan(1e-3);
  });
});

/** Pictures, targets and masks of one step. */
function batchOf(inputs: readonly { readonly name: string; readonly shape: readonly number[] }[], seed: number) {
  const next = noise(seed + 1);
  return Object.fromEntries(
    inputs.map(({ name, shape }): [string, Tensor] => {
      const one = noiseTensor(shape, next);
      if (name === 'targets') one.data.set(one.data.map((_, i) => Number(i % 3 === Math.floor(i / 3) % 3)));
      if (name.endsWith('.mask')) one.data.set(one.data.map((x) => (x < -0.4 ? 0 : 1 / 0.7)));
      return [name, one];
    }),
  );
}

/** What docs/training-step.md tells everybody to do: what comes out as `NAME.new` goes in as `NAME`. */
async function trainByFile(
  path: string,
  weights: ReadonlyMap<string, Tensor>,
  rounds: readonly Record<string, Tensor>[],
  rate: number,
): Promise<{ losses: number[]; state: Record<string, Tensor> }> {
  const ort = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(path, { enableMemPattern: false, intraOpNumThreads: 1 });
  const whole = (data: Float32Array, shape: readonly number[]) =>
    new ort.Tensor('float32', Float32Array.from(data), [...shape]);
  const sizes = new Map(
    session.inputMetadata.map((input: InferenceSession.ValueMetadata) => [
      input.name,
      input.isTensor ? input.shape.map(Number) : [],
    ]),
  );
  const state: Record<string, OrtTensor> = {};
  for (const [name, { data, shape }] of weights) if (sizes.has(name)) state[name] = whole(data, shape);
  for (const [name, shape] of sizes)
    if (name.endsWith('.momentum'))
      state[name] = whole(new Float32Array(shape.reduce((product, size) => product * size, 1)), shape);
  const losses: number[] = [];
  for (const inputs of rounds) {
    const feeds = Object.fromEntries(
      Object.entries(inputs).map(([name, { data, shape }]) => [name, whole(data, shape)]),
    );
    const results = await session.run({
      ...feeds,
      ...state,
      rate: new ort.Tensor('float32', Float32Array.of(rate), [1]),
    });
    losses.push((results.loss.data as Float32Array)[0]);
    for (const name of Object.keys(state)) state[name] = results[`${name}.new`];
  }
  await session.release();
  return {
    losses,
    state: Object.fromEntries(
      Object.entries(state).map(([name, { dims, data }]) => [
        name,
        { dtype: 'float32', shape: [...dims], data: data as Float32Array },
      ]),
    ),
  };
}

test('a batch that is none is refused, and so is a name that is taken', () => {
  const model = modelOf(...(networks[0].slice(0, 2) as [FamilyName, ResNetOptions]));
  for (const wrong of [0, 1.5, Number.NaN])
    expect(() => trainingStepModel(model, { batch: wrong })).toThrow(
      expect.objectContaining({ code: 'ARGUMENT', message: expect.stringContaining(`received ${wrong}`) }),
    );
  const [input] = model.graph.inputs;
  const graph = { ...model.graph, inputs: [{ ...input, name: 'rate' }] };
  expect(() => trainingStepModel({ ...model, graph })).toThrow(
    expect.objectContaining({ code: 'GRAPH', message: expect.stringContaining('"rate"') }),
  );
  const features = modelOf('resnet18', { ...small, classes: 0 });
  expect(() => trainingStepModel(features)).toThrow(expect.objectContaining({ code: 'GRAPH' }));
});

const check = `
import onnx
from onnx import shape_inference
found = {}
for path in sys.argv[1:]:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    dims = lambda value: [d.dim_value for d in value.type.tensor_type.shape.dim]
    found[os.path.basename(path)] = {
        'domains': sorted({node.domain for node in model.graph.node}), 'opset': model.opset_import[0].version,
        'inputs': {v.name: dims(v) for v in model.graph.input}, 'outputs': {v.name: dims(v) for v in model.graph.output},
        'training': [p.value for p in model.metadata_props if p.key == 'training'][0],
    }
print(json.dumps(found))
`;

interface Checked {
  readonly domains: string[];
  readonly opset: number;
  readonly inputs: Record<string, number[]>;
  readonly outputs: Record<string, number[]>;
  readonly training: string;
}

test.skipIf(!shared)('ONNX’s own checker takes the files: standard operators, and shapes as declared', async () => {
  const paths: string[] = [];
  for (const [i, [name, options, loss]] of networks.entries()) {
    paths.push(at(`${i}.onnx`));
    await exportTrainingStep(modelOf(name, options), paths[i], { batch, loss, ...settings });
  }
  const files = pythonJson<Record<string, Checked>>(check, ...paths);
  expect(Object.keys(files)).toHaveLength(3);
  for (const { domains, opset, inputs, outputs, training } of Object.values(files)) {
    expect([domains, opset]).toEqual([[''], 17]);
    expect(JSON.parse(training)).toMatchObject(settings);
    const again = Object.entries(outputs).filter(([name]) => name.endsWith('.new'));
    expect(again.length).toBeGreaterThan(20);
    for (const [name, shape] of again) expect(inputs[name.slice(0, -4)]).toEqual(shape);
    expect(Object.keys(outputs).length - again.length).toBe(2);
  }
  expect(files['0.onnx'].inputs).toMatchObject({ input: [6, 3, 12, 12], targets: [6, 3], rate: [1] });
  expect(Object.keys(files['1.onnx'].inputs).filter((name) => name.endsWith('.mask'))).toHaveLength(1);
});

test('the loop in docs/training-step.md learns', async () => {
  const root = fileURLToPath(new URL('../../../../', import.meta.url));
  const [, loop] = readFileSync(join(root, 'docs/training-step.md'), 'utf8').match(/```js\n(.*?)```/s) ?? [];
  const model = modelOf('resnet20', { classes: 3, size: 12, depths: [1, 1, 1] });
  await save(model, at('model.residual'));
  await convert(at('model.residual'), at('loop.onnx'), { trainingStep: true, batch: 4 });
  await convert(at('model.residual'), at('weights.safetensors'), { dialect: 'residual' });
  const program = loop.replace('step.onnx', at('loop.onnx')).replace('weights.safetensors', at('weights.safetensors'));
  const printed = execFileSync(process.execPath, ['--input-type=module', '-e', program], {
    cwd: root,
    encoding: 'utf8',
  });
  const losses = printed.trim().split('\n').map(Number);
  expect(losses).toHaveLength(5);
  expect(losses[4]).toBeLessThan(losses[0]);
});
