import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { difference } from '../engines/check.js';
import { engines } from '../engines/index.js';
import { modelFiles } from '../engines/onnx/model.js';
import { randomNetwork } from '../engines/random.test.graphs.js';
import { noise, noiseTensor, noiseWeights } from '../engines/sketch.js';
import type { Graph } from '../graph/graph.js';
import { preset } from '../image/presets.js';
import { build, type FamilyName, type ResNetOptions } from '../models/resnet.js';
import type { Tensor } from '../tensor.js';
import { pythonJson, shared, temporaryFolder } from '../testing.js';
import { exportOnnx, onnxModel } from './export.js';
import { createModel } from './model.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (name: string) => join(folder.path, name);

const classes = [{ label: 'cat', wnid: 'n02121808' }, { label: 'dog' }, { label: 'Überschall' }];
const modelOf = (graph: Graph, seed = 5) =>
  createModel(
    graph,
    { architecture: graph.name, preprocess: 'caffe', plan: preset('caffe', { height: 32, width: 32 }), classes },
    { weights: noiseWeights(graph, seed) },
  );
const small: ResNetOptions = { classes: 3, size: 32, width: 8, widthPerGroup: 8, depths: [1, 1, 1, 1] };
const networks: [FamilyName, ResNetOptions][] = [
  ['resnet18', small],
  ['resnet50', small],
  ['resnet20', { classes: 3, depths: [1, 1, 1] }],
  ['keras-resnet50', small],
  ['keras-resnet50v2', small],
  ['keras2015-resnet50', { ...small, size: 64 }],
  ['resnet18', { ...small, classes: 0 }],
];

/** The exported file, run by ONNX Runtime itself. */
async function runFile(path: string, input: string, x: Tensor): Promise<Record<string, Tensor>> {
  const ort = await import('onnxruntime-node');
  const session = await ort.InferenceSession.create(path, { logSeverityLevel: 3, intraOpNumThreads: 1 });
  const found = await session.run({ [input]: new ort.Tensor('float32', Float32Array.from(x.data), [...x.shape]) });
  await session.release();
  return Object.fromEntries(
    Object.entries(found).map(([name, { dims, data }]) => [
      name,
      { dtype: 'float32', shape: [...dims], data: data as Float32Array },
    ]),
  );
}

describe('ONNX Runtime runs the file with the numbers that our engine gives', () => {
  test.each(networks)('%s %o', async (name, options) => {
    await using model = modelOf(build(name, options));
    const path = at('model.onnx');
    await exportOnnx(model, path);
    const [input] = model.graph.inputs;
    const x = noiseTensor([3, ...input.shape.slice(1)], noise(4));
    const found = await runFile(path, input.name, x);
    const outputs = model.graph.outputs.map((output) => output.name);
    expect(Object.keys(found)).toEqual(outputs);
    const executable = await engines.onnx.compile(model.graph, { weights: model.weights, threads: 1 });
    const expected = await executable.run({ [input.name]: x });
    await executable.dispose();
    for (const output of outputs) {
      expect(found[output].shape).toEqual(expected[output].shape);
      // Where the size of the picture is fixed in the file, ONNX Runtime lays its work out in another way.
      if (name === 'keras2015-resnet50') expect(difference(found[output], expected[output])).toBeLessThan(1e-6);
      else expect([...found[output].data]).toEqual([...expected[output].data]);
    }
    await exportOnnx(model, path, { fold: true });
    const folded = await runFile(path, input.name, x);
    for (const output of outputs) expect(difference(folded[output], expected[output])).toBeLessThan(1e-4);
  });

  test('weights beside the model', async () => {
    const model = modelOf(build('resnet20', { depths: [1, 1, 1], classes: 3 }));
    const files = modelFiles(onnxModel({ ...model, weights: await model.weights() }), at('beside.onnx'), 10_000);
    expect(files.map((file) => file.path)).toEqual([at('beside.onnx'), at('beside.onnx.data')]);
    for (const file of files) writeFileSync(file.path, Buffer.concat(file.pieces));
    await exportOnnx(model, at('inside.onnx'));
    expect(existsSync(at('inside.onnx.data'))).toBe(false);
    const x = noiseTensor([1, 3, 32, 32], noise(4));
    const [a, b] = [await runFile(at('beside.onnx'), 'input', x), await runFile(at('inside.onnx'), 'input', x)];
    expect([...a.logits.data]).toEqual([...b.logits.data]);
    expect(readFileSync(at('beside.onnx')).length).toBeLessThan(60_000);
  });
});

test('weights that are no finite numbers once they are joined are not written', async () => {
  const graph = build('resnet20', { depths: [1, 1, 1], classes: 3 });
  const weights = new Map(noiseWeights(graph, 5));
  const change = (name: string, value: number) => {
    const { shape, data } = weights.get(name) as Tensor;
    weights.set(name, { dtype: 'float32', shape, data: new Float32Array(data.length).fill(value) });
  };
  const write = (name: string, fold: boolean) =>
    exportOnnx({ graph, weights, record: modelOf(graph).record }, at(name), { fold });
  change('bn1.weight', 1e30);
  change('bn1.running_mean', 1e30);
  await write('kept.onnx', false);
  await expect(write('joined.onnx', true)).rejects.toMatchObject({
    code: 'NUMERICS',
    message: expect.stringContaining('conv1.bias holds values that are not finite numbers; nothing was written'),
  });
  change('bn1.running_var', -0.5);
  for (const fold of [false, true])
    await expect(write('joined.onnx', fold)).rejects.toThrow('bn1.running_var[0] is the variance -0.5');
  expect(existsSync(at('joined.onnx'))).toBe(false);
});

const check = `
import onnx
from onnx import shape_inference
found = {}
for path in sys.argv[1:]:
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    model = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    dims = lambda value: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
    found[os.path.basename(path)] = {
        'opset': model.opset_import[0].version, 'ir': model.ir_version,
        'metadata': {p.key: p.value for p in model.metadata_props},
        'inputs': {v.name: dims(v) for v in model.graph.input}, 'outputs': {v.name: dims(v) for v in model.graph.output},
        'inferred': len(model.graph.value_info), 'nodes': len(model.graph.node),
    }
print(json.dumps(found))
`;

interface Checked {
  readonly opset: number;
  readonly ir: number;
  readonly metadata: Record<string, string>;
  readonly inputs: Record<string, (number | string)[]>;
  readonly outputs: Record<string, (number | string)[]>;
  readonly inferred: number;
  readonly nodes: number;
}

describe.skipIf(!shared)('ONNX’s own checker', () => {
  test('takes every file, and finds the shapes that are declared', async () => {
    const paths: string[] = [];
    for (const [i, [name, options]] of networks.entries())
      for (const fold of [false, true]) {
        paths.push(at(`${i}${fold ? '-folded' : ''}.onnx`));
        await exportOnnx(modelOf(build(name, options)), paths[paths.length - 1], { fold });
      }
    const found = pythonJson<Record<string, Checked>>(check, ...paths);
    expect(Object.keys(found)).toHaveLength(paths.length);
    for (const { opset, ir, inferred, nodes } of Object.values(found)) {
      expect([opset, ir]).toEqual([17, 8]);
      expect(inferred).toBeGreaterThanOrEqual(nodes - 2);
    }
    const [torchvision, flattened, features] = [found['0.onnx'], found['5.onnx'], found['6.onnx']];
    expect(torchvision.inputs).toEqual({ input: ['batch', 3, 'height', 'width'] });
    expect(torchvision.outputs).toEqual({ logits: ['batch', 3] });
    // It flattens its picture before the classifier, and is of one size.
    expect(flattened.inputs).toEqual({ input: ['batch', 3, 64, 64] });
    expect(features.outputs).toEqual({ features: ['batch', 64] });
    expect(torchvision.metadata.classes).toBe('0 cat\n1 dog\n2 Überschall');
    expect(JSON.parse(torchvision.metadata.residual)).toEqual({
      format: 1,
      architecture: 'resnet18',
      preprocess: 'caffe',
      plan: preset('caffe', { height: 32, width: 32 }),
      classes,
      dialect: 'residual',
    });
    expect(found['0-folded.onnx'].nodes).toBeLessThan(found['0.onnx'].nodes);
  });

  test('takes random networks of all the ops', async () => {
    const cases = fc.sample(randomNetwork, { numRuns: 60, seed: 11 });
    const paths: string[] = [];
    for (const [i, { graph }] of cases.entries()) {
      paths.push(at(`random-${i}.onnx`));
      await exportOnnx(modelOf(graph), paths[i]);
    }
    expect(Object.keys(pythonJson<Record<string, Checked>>(check, ...paths))).toHaveLength(60);
  });
});
