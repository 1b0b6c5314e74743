import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { AnyTensor } from '../tensor.js';
import { describeAll, describeTensor, type Expected, pythonJson, scratch } from '../testing.js';
import { openCheckpoint } from './open.js';
import { torchBytes } from './write-torch.js';

/** One tensor of each element type, a scalar, an empty one, and a name that is not ASCII. */
export const zoo: [string, AnyTensor][] = [
  ['conv.weight', { dtype: 'float32', shape: [2, 1, 1, 3], data: Float32Array.of(1, -2, 3e-40, 4, 5, Number.NaN) }],
  ['half', { dtype: 'float16', shape: [3], data: Uint16Array.of(0x3c00, 0x7bff, 0x8001) }],
  ['brain', { dtype: 'bfloat16', shape: [2], data: Uint16Array.of(0x3f80, 0xc000) }],
  ['double', { dtype: 'float64', shape: [1, 2], data: Float64Array.of(Math.PI, -0) }],
  ['num_batches_tracked', { dtype: 'int64', shape: [], data: BigInt64Array.of(2n ** 40n) }],
  ['int', { dtype: 'int32', shape: [2], data: Int32Array.of(-1, 7) }],
  ['short', { dtype: 'int16', shape: [2], data: Int16Array.of(-300, 300) }],
  ['char', { dtype: 'int8', shape: [3], data: Int8Array.of(-1, 0, 1) }],
  ['byte', { dtype: 'uint8', shape: [5], data: Uint8Array.of(1, 2, 3, 4, 255) }],
  ['bool', { dtype: 'bool', shape: [2], data: Uint8Array.of(0, 1) }],
  ['empty', { dtype: 'float32', shape: [0, 3], data: new Float32Array(0) }],
  ['größe/層', { dtype: 'float32', shape: [1], data: Float32Array.of(1) }],
];

const expected: Expected = Object.fromEntries(zoo.map(([name, tensor]) => [name, describeTensor(tensor)]));

const loadInTorch = `
import torch, zipfile
path = sys.argv[1]
assert zipfile.ZipFile(path).testzip() is None
state = torch.load(path, weights_only=True)
assert type(state).__name__ == 'OrderedDict'
print(json.dumps({name: of_torch(tensor) for name, tensor in state.items()}))
`;

test('PyTorch reads every element type, with weights_only, in the order written', () => {
  const path = join(scratch(), 'zoo.pth');
  writeFileSync(path, Buffer.concat([...torchBytes(zoo)]));
  const found = pythonJson<Expected>(loadInTorch, path);
  expect(found).toEqual(expected);
  expect(Object.keys(found)).toEqual(Object.keys(expected));
});

test('so does our reader, and equal content gives an equal file', async () => {
  const bytes = Buffer.concat([...torchBytes(zoo)]);
  expect(await describeAll(await openCheckpoint(bytes))).toEqual(expected);
  expect(Buffer.concat([...torchBytes(zoo)])).toEqual(bytes);
});
