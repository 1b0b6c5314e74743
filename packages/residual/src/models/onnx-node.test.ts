import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { engines } from '../engines/index.js';
import { toFloat32 } from '../tensor.js';
import { oracle, shared, temporaryFolder } from '../testing.js';
import { readWeights } from '../weights/assign.js';
import { tensorOf, withInitializers } from '../weights/onnx.test.helper.js';
import { openCheckpoint } from '../weights/open.js';
import { onnxGraph } from './onnx-graph.js';
import { notApplicable } from './onnx-node.test.list.js';
import { operators } from './onnx-operators.js';

// ONNX's own backend node tests: one operator, its inputs and what it must give. Inputs that are weights or settings in a
// network (all but the first, where the operator joins none) are put into the model as its initializers.

/** ONNX's runner allows 1e-3 of each number and 1e-7 beside. */
const [relative, absolute] = [1e-5, 1e-7];

const joins = ['Add', 'Sum', 'Mul', 'Concat'];

const folder = temporaryFolder();
afterAll(folder.remove);
const root = join(folder.path, 'node');
if (shared) oracle('onnx_node_tests.py', folder.path);

const bytes = (...path: string[]): Uint8Array => new Uint8Array(readFileSync(join(root, ...path)));

/** The operators of a test's model; none where it cannot even be read. */
async function typesIn(name: string): Promise<readonly string[]> {
  try {
    const checkpoint = await openCheckpoint(bytes(name, 'model.onnx'));
    return checkpoint.network?.nodes.map(({ type }) => type) ?? [];
  } catch {
    return [];
  }
}

const names = shared ? readdirSync(root).sort() : [];
const types = new Map<string, readonly string[]>();
for (const name of names) types.set(name, await typesIn(name));
/** The tests of the operators that are imported, and no others. */
const ours = names.filter((name) => {
  const used = types.get(name) ?? [];
  return used.length > 0 && used.every((type) => Object.hasOwn(operators, type));
});

/** Imports the test's model, runs it, and compares; throws where anything goes wrong. */
async function pass(name: string): Promise<void> {
  const data = join(name, 'test_data_set_0');
  const inputs: Uint8Array[] = [];
  while (existsSync(join(root, data, `input_${inputs.length}.pb`)))
    inputs.push(bytes(data, `input_${inputs.length}.pb`));
  const live = joins.includes(types.get(name)?.[0] ?? '') ? inputs.length : 1;
  const checkpoint = await openCheckpoint(withInitializers(bytes(name, 'model.onnx'), inputs.slice(live)));
  if (checkpoint.network === undefined) throw new Error('no network');
  const { graph, ...naming } = onnxGraph(checkpoint.network);
  const weights = await readWeights(
    graph,
    checkpoint,
    { ...naming, layout: 'pytorch' },
    { replace: new Set(), file: name },
  );
  const outputs = readdirSync(join(root, data)).filter((file) => file.startsWith('output_'));
  if (outputs.length !== graph.outputs.length) throw new Error(`${outputs.length} outputs are due`);
  const given = await Promise.all(inputs.slice(0, live).map(tensorOf));
  // Networks compute in float32, whatever type of real numbers they were written for.
  const fed = Object.fromEntries(
    given.map((one) => [one.name, one.tensor.dtype.startsWith('float') ? toFloat32(one.tensor) : one.tensor]),
  );
  const expected = (await tensorOf(bytes(data, 'output_0.pb'))).tensor;
  const values = toFloat32(expected).data;
  for (const engine of Object.values(engines)) {
    const executable = await engine.compile(graph, { weights });
    try {
      const received = (await executable.run(fed as Parameters<typeof executable.run>[0]))[graph.outputs[0].name];
      expect(received.shape).toEqual(expected.shape);
      received.data.forEach((x, i) => {
        if (!(Math.abs(x - values[i]) <= absolute + relative * Math.abs(values[i])))
          throw new Error(`number ${i} is ${x}; expected ${values[i]}`);
      });
    } finally {
      await executable.dispose();
    }
  }
}

describe.skipIf(!shared)("ONNX's backend node tests", () => {
  test('there are tests, and every listed one is among them', () => {
    expect(ours.length).toBeGreaterThan(150);
    expect(Object.keys(notApplicable).filter((name) => !ours.includes(name))).toEqual([]);
  });

  test.each(ours.filter((name) => !Object.hasOwn(notApplicable, name)))('%s', pass);

  test.each(ours.filter((name) => Object.hasOwn(notApplicable, name)))('%s does not apply', async (name) => {
    let passed = true;
    try {
      await pass(name);
    } catch {
      passed = false;
    }
    expect(passed, 'it passes: take it off the list').toBe(false);
  });
});
