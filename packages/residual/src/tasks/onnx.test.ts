import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { difference } from '../engines/check.js';
import { noise, noiseTensor } from '../engines/sketch.js';
import { preset } from '../image/presets.js';
import { build } from '../models/resnet.js';
import { readTensors, refusal, runPython, shared, temporaryFolder } from '../testing.js';
import { modelOf } from '../weights/onnx.test.helper.js';
import { exportOnnx } from './export.js';
import { inspect } from './inspect.js';
import { load } from './load.js';
import { createModel } from './model.js';
import { agreeWith, common } from './onnx.test.helper.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const file = (name: string) => join(folder.path, name);
const agree = agreeWith(folder.path);

const exported = `${common}
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
T = torch.onnx.TrainingMode
def export(name, m, x, **options):
    statistics(m)
    with torch.no_grad(): y = m(x)
    torch.onnx.export(m, x, f'{out}/{name}.onnx', **options)
    keep(name, x, y)
picture = lambda n=1, size=64: torch.randn(n, 3, size, size)
basic = lambda classes=10: ResNet(BasicBlock, [1, 2, 1, 1], num_classes=classes)
export('opset9', basic(), picture(), opset_version=9)
export('opset11', basic(), picture(), opset_version=11, keep_initializers_as_inputs=True)
export('opset13', basic(1000), picture(), opset_version=13, training=T.PRESERVE, do_constant_folding=False)
export('folded', basic(1000), picture(), opset_version=13)
m = basic(); m.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False); m.maxpool = nn.Identity(); export('small', m, picture(1, 32), opset_version=13)
for node in (model := onnx.load(f'{out}/opset9.onnx')).graph.node: node.name = node.name and 'Conv_0'
onnx.save(model, f'{out}/numbered.onnx')
axes = {'image': {0: 'batch', 2: 'height', 3: 'width'}, 'scores': {0: 'batch'}}
export('opset16', ResNet(Bottleneck, [1, 1, 1, 1], groups=4, width_per_group=8, num_classes=7), picture(2, 64), opset_version=16,
       input_names=['image'], output_names=['scores'], dynamic_axes=axes)
export('training', basic(), picture(), opset_version=14, training=T.TRAINING, do_constant_folding=False)

class Parts(nn.Module):
    """Squeeze and excitation, a joined branch, a picture resized, a layer used twice, a product without its bias."""
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False); self.bn = nn.BatchNorm2d(8)
        self.down, self.up = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.twice = nn.Conv2d(8, 8, 3, 1, 2, dilation=2, groups=4)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=True); self.mean = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
        self.matrix = nn.Parameter(torch.randn(16, 16) / 4); self.fc = nn.Linear(16, 5); self.gate = nn.Linear(8, 8); self.drop = nn.Dropout(.3)
    def forward(self, x):
        x = self.pool(torch.relu(self.bn(self.stem(x))))
        x = x * torch.sigmoid(self.up(torch.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))
        b, c, _, _ = x.size()
        x = x * torch.sigmoid(self.gate(F.adaptive_avg_pool2d(x, 1).view(b, c))).view(b, c, 1, 1)
        y = self.twice(torch.relu(self.twice(x))) + x
        half = F.interpolate(self.mean(y), size=(9, 9), mode='bilinear', align_corners=False)
        z = torch.cat([F.interpolate(half, scale_factor=2, mode='nearest'), F.interpolate(y, size=(18, 18), mode='bilinear', align_corners=True)], 1)
        z = z.mean([2, 3])
        z = z.view(z.size(0), -1) @ self.matrix
        return F.softmax(self.fc(self.drop(z)), 1)
class Rims(nn.Module):
    """Zeros and mirrored rims, whose sizes the exporter computes in the graph; a blur as timm has it."""
    def __init__(self):
        super().__init__()
        self.conv, self.zeros = nn.Conv2d(3, 8, 3), nn.ZeroPad2d((0, 1, 2, 3))
        taps = torch.tensor([1., 4., 6., 4., 1.]) / 16; self.register_buffer('filter', (taps[:, None] * taps)[None, None].repeat(8, 1, 1, 1))
    def forward(self, x): return F.conv2d(F.pad(self.zeros(self.conv(x)), [2] * 4, 'reflect'), self.filter, stride=2, groups=8)
class Shortcut(nn.Module):
    """Every second place and zero channels, as akamaster's CIFAR networks."""
    def __init__(self): super().__init__(); self.conv = nn.Conv2d(3, 8, 3, 2, 1)
    def forward(self, x): return self.conv(x) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 3))
for opset in (11, 13): export(f'shortcut{opset}', Shortcut(), picture(1, 33), opset_version=opset)
for opset in (11, 16): export(f'rims{opset}', Rims(), picture(), opset_version=opset)
for opset in (11, 13, 16):
    export(f'parts{opset}', Parts(), picture(2, 65), opset_version=opset, do_constant_folding=opset != 13,
           input_names=['image'], dynamic_axes={'image': {0: 'batch'}} if opset == 16 else None)
model = onnx.load(f'{out}/opset16.onnx')
onnx.save(model, f'{out}/external.onnx', save_as_external_data=True, location='external.bin', size_threshold=0)
model = onnx.load(f'{out}/opset16.onnx')
onnx.save(model, f'{out}/external2.onnx', save_as_external_data=True, all_tensors_to_one_file=False, size_threshold=100)
`;

describe.skipIf(!shared)('what torch.onnx.export writes', () => {
  beforeAll(() => void runPython(exported, folder.path, join(shared as string, 'oracle')), 120_000);

  test.each([
    'opset9',
    'opset11',
    'opset13',
    'opset16',
    'folded',
    'parts11',
    'parts13',
    'parts16',
    'rims11',
    'rims16',
    'shortcut11',
    'shortcut13',
  ])('%s', (name) => agree(name), 30_000);

  test.each(['external', 'external2'])('%s: weights in other files', (name) => agree(name, 'opset16'), 30_000);

  test("names like torchvision's tell the network, the plan and the labels", async () => {
    await using model = await load(file('opset13.onnx'));
    expect(model.record).toMatchObject({
      preprocess: 'torchvision',
      architecture: 'resnet of 1, 2, 1, 1 basic blocks',
    });
    expect(model.record.classes).toHaveLength(1000);
    expect(model.notes).toEqual([expect.stringContaining('V1 weights')]);
    expect([...(await model.weights()).keys()]).toContain('layer2.1.bn2.running_var');
    expect(model.graph.nodes.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['conv1', 'layer2.0.downsample.0', 'fc']),
    );
    expect(await inspect(file('opset13.onnx'))).toMatchObject({
      format: 'onnx',
      formatReason: "a model in ONNX's protocol buffer, written by pytorch",
      dialect: 'torchvision',
      classes: 1000,
      metadata: { producer: 'pytorch 1.13.0', opset: 13 },
    });
  });

  test("without BatchNorm, PyTorch's names or 1000 classes mean torchvision's plan, which is said", async () => {
    await using model = await load(file('folded.onnx'));
    expect(model.record.preprocess).toBe('torchvision');
    expect(model.record.classes).toHaveLength(1000);
    expect(model.notes).toEqual([
      expect.stringMatching(/nothing says how its pictures were prepared; as PyTorch wrote it/),
    ]);
    for (const [name, preprocess] of [
      ['opset9', 'torchvision'],
      ['numbered', 'torchvision'],
      ['small', 'cifar'],
    ]) {
      await using other = await load(file(`${name}.onnx`));
      expect(other.record).not.toHaveProperty('classes');
      expect(other.record.preprocess).toBe(preprocess);
      expect(other.notes).toEqual([
        expect.stringMatching(/as PyTorch wrote it with torchvision's names, torchvision's way is assumed/),
      ]);
    }
    const found = await inspect(file('folded.onnx'));
    expect(found).toMatchObject({ dialect: 'onnx model', architecture: 'torch_jit', parameters: 5_711_080 });
  });

  test('a size that the file leaves open can be chosen, a fixed one not', async () => {
    await using model = await load(file('opset16.onnx'), { size: 96 });
    expect(model.graph.inputs).toEqual([{ name: 'image', value: 0, shape: [1, 3, 96, 96] }]);
    expect(await refusal(load(file('opset9.onnx'), { size: 96 }))).toMatchObject({ code: 'ARGUMENT' });
  });

  test('a network in training mode is refused', async () => {
    expect(await refusal(load(file('training.onnx')))).toMatchObject({
      code: 'GRAPH',
      message: expect.stringContaining('"/bn1/BatchNormalization" (BatchNormalization) is in training mode'),
    });
  });
});

/** The same network as `weights/odd/resnet2b-cifar10.zip.pth`, by hand in PyTorch. */
const twin = `${common}
w = torch.load(sys.argv[3], map_location='cpu')['state_dict']
x = torch.randn(4, 3, 32, 32)
def conv(name, x, stride, padding): return F.conv2d(x, w[name + '.weight'], w[name + '.bias'], stride, padding)
y = torch.relu(conv('conv1', x, 2, 1))
a = conv('layer1.0.conv2', torch.relu(conv('layer1.0.conv1', y, 2, 1)), 1, 1)
y = torch.relu(a + conv('layer1.0.shortcut.0', y, 2, 0))
y = torch.relu(conv('layer1.1.conv2', torch.relu(conv('layer1.1.conv1', y, 1, 1)), 1, 1) + y)
y = torch.relu(F.linear(y.flatten(1), w['linear1.weight'], w['linear1.bias']))
keep('twin', x, F.linear(y, w['linear2.weight'], w['linear2.bias']))
`;

describe.skipIf(!shared)('the odd files of others', () => {
  const odd = (name: string) => join(shared as string, 'weights/odd', name);

  test('resnet2b-cifar10.onnx computes what its PyTorch file says', async () => {
    runPython(twin, folder.path, join(shared as string, 'oracle'), odd('resnet2b-cifar10.zip.pth'));
    const { x, y } = await readTensors(file('twin.safetensors'), ['x', 'y']);
    for (const engine of ['reference', 'onnx'] as const) {
      await using model = await load(odd('resnet2b-cifar10.onnx'), { engine });
      expect(difference(await model.predict(x), y)).toBeLessThan(1e-5);
    }
  });

  test("resnet2b-cifar10.onnx has torchvision's names and is none of the family", async () => {
    expect(await inspect(odd('resnet2b-cifar10.onnx'))).toMatchObject({ dialect: 'onnx model', classes: 10 });
  });

  test('light_resnet50.onnx is a ResNet-50 of made weights', async () => {
    await using model = await load(odd('light_resnet50.onnx'));
    expect(model.graph.nodes.filter(({ op }) => op === 'conv2d')).toHaveLength(53);
    expect((await model.weights()).get('gpu_0/conv1_w_0')?.data.every((x) => x === Math.fround(0.02))).toBe(true);
    expect(model.record.classes).toHaveLength(1000);
    expect(await inspect(odd('light_resnet50.onnx'))).toMatchObject({ parameters: 25_557_032, statistics: 53_120 });
  });
});

test.each(['reference', 'onnx'] as const)('a chain of as many nodes as are read runs: %s', async (engine) => {
  const nodes = Array.from({ length: 20_000 }, (_, i) => ({
    type: 'Relu',
    name: 'n',
    inputs: [i ? `v${i}` : 'x'],
    outputs: [`v${i + 1}`],
  }));
  await using model = await load(modelOf({ inputs: { x: ['N', 3, 8, 8] }, outputs: ['v20000'], nodes }), { engine });
  const x = noiseTensor([1, 3, 8, 8], noise(1));
  expect(Array.from((await model.run(x, ['features'])).features.data)).toEqual(
    Array.from(x.data, (n) => Math.max(n, 0)),
  );
});

test('what we export comes back with its plan and labels', async () => {
  const graph = build('resnet18', { classes: 3, size: 32, width: 8, widthPerGroup: 8, depths: [1, 1, 1, 1] });
  const classes = [{ label: 'cat', wnid: 'n02121808' }, { label: 'dog' }, { label: 'owl' }];
  const plan = preset('tf', { height: 32, width: 32 });
  await using model = createModel(graph, { architecture: 'small', preprocess: 'tf', plan, classes, licence: 'MIT' });
  const x = noiseTensor([2, 3, 32, 32], noise(4));
  for (const fold of [false, true]) {
    await exportOnnx(model, file('own.onnx'), { fold });
    await using back = await load(file('own.onnx'));
    expect(back.record).toMatchObject({ architecture: 'small', preprocess: 'tf', plan, classes, licence: 'MIT' });
    expect(back.notes).toEqual([]);
    const [expected, received] = [await model.run(x, ['logits']), await back.run(x, ['logits'])];
    expect(difference(received.logits, expected.logits)).toBeLessThan(1e-5);
    if (!fold) expect([...(await back.weights()).keys()].sort()).toEqual([...(await model.weights()).keys()].sort());
  }
});
