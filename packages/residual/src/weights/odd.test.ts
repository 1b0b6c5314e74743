import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { difference } from '../engines/check.js';
import { add, conv2d, dense, flatten, input, network, relu, type Value } from '../graph/build.js';
import { load } from '../tasks/load.js';
import { readTensors, refusal, runPython, scratch, shared } from '../testing.js';

/** What becomes of each odd file of the shared material when it is loaded without further words. */
const outcomes: Record<string, { code: string; message: RegExp } | { loads: string }> = {
  'resnet2b-cifar10.zip.pth': {
    code: 'WEIGHTS_MISMATCH',
    message:
      /no ResNet is known by these 16 tensors \(state_dict\.conv1\.weight, .*; build the network and pass it as architecture/,
  },
  'nested-dense.keras': {
    code: 'GRAPH',
    message:
      /its model is of the custom class NestedDenseModel, registered as legacy_nested_container>NestedDenseModel, whose code is not in the file; build the network and pass it as architecture/,
  },
  'keras2015-resnet50-notop.truncated.h5': {
    code: 'WEIGHTS_FORMAT',
    message: /it should have 94653016 bytes but has 1048576\); it is damaged or cut off, fetch it again/,
  },
  'resnet50-19c8e357.truncated.pth': {
    code: 'WEIGHTS_FORMAT',
    message:
      /member storages of the tar should have 102454237 bytes but 313856 are left of the 358400 of the file; it is damaged or cut off, fetch it again/,
  },
  'resnet2b-cifar10.onnx': { loads: 'torch-jit-export' },
  'light_resnet50.onnx': { loads: 'resnet50' },
};

describe.skipIf(!shared)('odd files', () => {
  const folder = shared ? join(shared, 'weights/odd') : '';

  test('all are known here', () => {
    const weights = readdirSync(folder).filter((name) => !/^(LICENSE|SOURCE)/.test(name));
    expect(weights.sort()).toEqual(Object.keys(outcomes).sort());
  });

  test.each(Object.entries(outcomes))('%s loads, or is refused for the right reason', async (name, outcome) => {
    const loading = load(join(folder, name));
    if ('loads' in outcome) {
      await using model = await loading;
      expect(model.record.architecture).toBe(outcome.loads);
      expect(model.report).toMatchObject({ missing: [], misshapen: [] });
    } else
      expect(await refusal(loading)).toMatchObject({
        code: outcome.code,
        message: expect.stringMatching(outcome.message),
      });
  });

  test('the network without BatchNorm runs as PyTorch runs it, given as architecture', async () => {
    const out = join(scratch(), 'expected.safetensors');
    const file = join(folder, 'resnet2b-cifar10.zip.pth');
    runPython(resnet2b, file, out);
    const { input: x, logits } = await readTensors(out, ['input', 'logits']);
    const conv = (from: Value, name: string, out: number, kernel: number, stride: number) =>
      conv2d(from, out, { name, kernel, stride, padding: kernel === 3 ? 1 : 0, bias: true });
    const block = (from: Value, name: string, stride: number) => {
      const inner = relu(conv(from, `${name}.conv1`, 16, 3, stride), { name: `${name}.relu` });
      const shortcut = stride === 1 ? from : conv(from, `${name}.shortcut.0`, 16, 1, stride);
      const sum = add(conv(inner, `${name}.conv2`, 16, 3, 1), shortcut, { name: `${name}.add` });
      return relu(sum, { name: `${name}.out` });
    };
    const stem = relu(conv(input({ name: 'input', height: 32, width: 32, channels: 3 }), 'conv1', 8, 3, 2), {
      name: 'relu',
    });
    const features = flatten(block(block(stem, 'layer1.0', 2), 'layer1.1', 1), { name: 'flatten' });
    const hidden = relu(dense(features, 100, { name: 'linear1' }), { name: 'hidden' });
    const graph = network('resnet2b', { logits: dense(hidden, 10, { name: 'linear2' }) });
    await using model = await load(file, { architecture: graph, engine: 'reference', preprocess: 'raw255' });
    expect(model.report).toMatchObject({ loaded: 16, missing: [], unexpected: [] });
    expect(difference(await model.predict(x), logits)).toBeLessThan(1e-5);
  });
});

const resnet2b = `
import torch, torch.nn.functional as F, struct
w = torch.load(sys.argv[1], map_location='cpu')['state_dict']
conv = lambda x, n, s, p: F.conv2d(x, w[n + '.weight'], w[n + '.bias'], stride=s, padding=p)
def block(x, n, s):
    y = conv(F.relu(conv(x, n + '.conv1', s, 1)), n + '.conv2', 1, 1)
    return F.relu(y + (conv(x, n + '.shortcut.0', s, 0) if s > 1 else x))
x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
y = block(block(F.relu(conv(x, 'conv1', 2, 1)), 'layer1.0', 2), 'layer1.1', 1).flatten(1)
y = F.linear(F.relu(F.linear(y, w['linear1.weight'], w['linear1.bias'])), w['linear2.weight'], w['linear2.bias'])
header, data = {}, b''
for name, t in (('input', x), ('logits', y)):
    header[name] = {'dtype': 'F32', 'shape': list(t.shape), 'data_offsets': [len(data), len(data) + 4 * t.numel()]}; data += t.numpy().tobytes()
text = json.dumps(header).encode()
open(sys.argv[2], 'wb').write(struct.pack('<Q', len(text)) + text + data)
`;
