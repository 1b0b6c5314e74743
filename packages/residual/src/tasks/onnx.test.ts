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

const folder = temporaryFolder();
afterAll(folder.remove);
const file = (name: string) => join(folder.path, name);

/** What PyTorch computed, and what both engines compute of the file, relative to the largest number. */
async function agree(name: string, network = name): Promise<void> {
  const { x, y } = await readTensors(file(`${network}.safetensors`), ['x', 'y']);
  for (const engine of ['reference', 'onnx'] as const) {
    await using model = await load(file(`${name}.onnx`), { engine });
    const [output] = model.graph.outputs;
    const received = (await model.run(x, [output.name]))[output.name];
    expect(difference(received, y), `${name}, ${engine}`).toBeLessThan(1e-5);
  }
}

const common = `
import torch, torchvision, onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn
import torch.nn.functional as F
out = sys.argv[1]; sys.path.insert(0, sys.argv[2]); import safetensors_io
torch.manual_seed(3)
def statistics(m):
    for x in m.modules():
        if isinstance(x, nn.BatchNorm2d):
            nn.init.uniform_(x.weight, .5, 1.); nn.init.normal_(x.bias, std=.1)
            nn.init.normal_(x.running_mean, std=.1); nn.init.uniform_(x.running_var, .5, 1.5)
    return m.eval()
def keep(name, x, y):
    safetensors_io.save(f'{out}/{name}.safetensors', {'x': x.detach().numpy(), 'y': y.detach().numpy()})
`;

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

/** Writes models node by node, as other exporters do, and computes each node by PyTorch as it goes. */
const recorded = `${common}
class Recorder:
    def __init__(self, name, opset, inputs, producer, typed=False):
        self.name, self.opset, self.producer, self.typed = name, opset, producer, typed
        self.nodes, self.tensors, self.count, self.inputs = [], [], 0, inputs
    def tensor(self, value, name=None):
        value = np.asarray(value); self.count += 1; name = name or f't{self.count}'
        self.tensors.append(helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(value.dtype) if hasattr(helper, 'np_dtype_to_tensor_dtype') else onnx.mapping.NP_TYPE_TO_TENSOR_TYPE[value.dtype], value.shape, value.flatten().tolist())
            if self.typed else numpy_helper.from_array(value, name))
        return name
    def node(self, kind, inputs, **settings):
        self.count += 1; name = f'v{self.count}'
        self.nodes.append(helper.make_node(kind, inputs, [name], name='' if self.typed else f'{kind}_{self.count}', **settings))
        return name
    def save(self, x, y, last, shape):
        graph = helper.make_graph(self.nodes, self.name, [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in self.inputs],
            [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)], self.tensors)
        model = helper.make_model(graph, producer_name=self.producer, opset_imports=[helper.make_opsetid('', self.opset)], ir_version=8 if self.opset > 8 else 4)
        onnx.checker.check_model(model)
        onnx.save(model, f'{out}/{self.name}.onnx'); keep(self.name, x, y)

def norm(r, x, name, **settings):
    c = x[1].shape[1]
    g, b, m, v = torch.rand(c) + .5, torch.randn(c) / 9, torch.randn(c) / 9, torch.rand(c) + .5
    names = [r.tensor(t.numpy(), f'{name}_{k}') for t, k in ((g, 'gamma'), (b, 'beta'), (m, 'running_mean'), (v, 'running_var'))]
    return r.node('BatchNormalization', [x[0], *names], epsilon=2e-5, **settings), F.batch_norm(x[1], m, v, g, b, eps=2e-5)
def conv(r, x, filters, kernel, stride=1, pads=None, same=False, bias=True, name=None):
    w = torch.randn(filters, x[1].shape[1], kernel, kernel) / (x[1].shape[1] * kernel * kernel) ** .5; b = torch.randn(filters)
    inputs = [x[0], r.tensor(w.numpy(), name and f'{name}_weight')] + ([r.tensor(b.numpy(), name and f'{name}_bias')] if bias else [])
    if same:
        short = lambda n: max((-(-n // stride) - 1) * stride + kernel - n, 0)
        h, wd = short(x[1].shape[2]), short(x[1].shape[3]); pads = [h // 2, wd // 2, h - h // 2, wd - wd // 2]
    t, l, bt, rt = pads or [0] * 4
    where = dict(auto_pad='SAME_UPPER') if same else dict(pads=pads or [0] * 4)
    return (r.node('Conv', inputs, kernel_shape=[kernel] * 2, strides=[stride] * 2, **where),
            F.conv2d(F.pad(x[1], (l, rt, t, bt)), w, b if bias else None, stride))
def relu(r, x): return r.node('Relu', [x[0]]), torch.relu(x[1])
def block(r, x, filters, stride, kind='Add'):
    y = relu(r, norm(r, conv(r, x, filters, 3, stride, [1] * 4, bias=False), f'bn{r.count}'))
    y = conv(r, y, filters, 3, 1, [1] * 4)
    if stride != 1: x = conv(r, x, filters, 1, stride)
    return relu(r, (r.node(kind, [y[0], x[0]]), y[1] + x[1]))
def dense(r, x, units, kind, bias=True):
    w, b = torch.randn(x[1].shape[1], units) / x[1].shape[1] ** .5, torch.randn(units)
    y = x[1] @ w + b
    if kind == 'Gemm': return r.node('Gemm', [x[0], r.tensor(w.t().numpy()), r.tensor(b.numpy())], transB=1), y
    if kind == 'scaled': return r.node('Gemm', [x[0], r.tensor(w.numpy()), r.tensor((b / 4).numpy()[None])], alpha=.5, beta=2.), x[1] @ w / 2 + b / 2
    return r.node('Add', [r.node('MatMul', [x[0], r.tensor(w.numpy())]), r.tensor(b.numpy())]), y
x = torch.randn(1, 3, 33, 33)

# The zoo's resnet-v1 and v2, written by MXNet at opset 7 and 8, typed data, names without layers.
for name, opset, v2 in (('zoo-v1', 7, False), ('zoo-v2', 8, True)):
    r = Recorder(name, opset, [('data', [1, 3, 33, 33])], 'mxnet', typed=True)
    y = ('data', x)
    if v2: y = norm(r, y, 'bn_data')
    y = relu(r, norm(r, conv(r, y, 8, 7, 2, [3] * 4, bias=False), 'bn0', **({'spatial': 1} if opset < 9 else {})))
    y = r.node('MaxPool', [y[0]], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), F.max_pool2d(y[1], 3, 2, 1)
    y = block(r, block(r, y, 8, 1), 12, 2)
    y = r.node('GlobalAveragePool', [y[0]]), y[1].mean([2, 3], True)
    flat = r.node('Reshape', [y[0], r.tensor(np.array([0, -1]))]) if v2 else r.node('Flatten', [y[0]])
    y = dense(r, (flat, y[1].flatten(1)), 10, 'Gemm')
    r.save(x, y[1], y[0], [1, 10])

# Caffe2's: Sum, a mean over a window, a reshape to the very shape, a softmax without axis; initializers among the inputs.
r = Recorder('caffe2', 9, [('gpu_0/data_0', [1, 3, 33, 33])], 'onnx-caffe2')
y = block(r, block(r, conv(r, ('gpu_0/data_0', x), 8, 3, 4, [1] * 4, name='gpu_0/conv1'), 8, 1, 'Sum'), 12, 2, 'Sum')
y = r.node('AveragePool', [y[0]], kernel_shape=[5, 5], strides=[1, 1]), F.avg_pool2d(y[1], 5)
y = dense(r, (r.node('Reshape', [y[0], r.tensor(np.array([1, 12]))]), y[1].flatten(1)), 10, 'scaled')
y = r.node('Softmax', [y[0]]), y[1].softmax(1)
r.inputs += [(t.name, list(t.dims)) for t in r.tensors if t.data_type == TensorProto.FLOAT]
r.save(x, y[1], y[0], [1, 10])

# tf2onnx: NHWC outside, "same" padding, ZeroPadding2D before the turn, biases added apart, a mean over axes, MatMul and Add.
last = torch.randn(2, 3, 33, 33)
def turn(r, y, order): return r.node('Transpose', [y[0]], perm=order), y[1]
first, back = [0, 3, 1, 2], [0, 2, 3, 1]
for name, opset in (('tf2onnx', 13), ('tf2onnx-old', 9)):
    r = Recorder(name, opset, [('input_1', ['unk__1', 33, 33, 3])], 'tf2onnx')
    pads = [0, 3, 3, 0, 0, 3, 3, 0]
    y = (r.node('Pad', ['input_1', r.tensor(np.array(pads))]) if opset > 10 else r.node('Pad', ['input_1'], pads=pads)), F.pad(last, (3, 3, 3, 3))
    y = turn(r, y, first)
    y = conv(r, y, 8, 7, 2, bias=False)
    b = torch.randn(8); y = r.node('Add', [y[0], r.tensor(b.numpy().reshape(1, 8, 1, 1))]), y[1] + b[:, None, None]
    y = relu(r, norm(r, y, 'resnet50/conv1_bn'))
    z = conv(r, relu(r, norm(r, conv(r, y, 12, 3, 2, same=True), 'n1')), 12, 3, 1, same=True, bias=False)
    y = conv(r, y, 12, 1, 2)
    # One branch is turned back before the sum, which is then taken with channels last.
    z, y = turn(r, z, back), turn(r, y, back)
    b = torch.randn(12); z = r.node('Add', [z[0], r.tensor(b.numpy())]), z[1] + b[:, None, None]
    if opset == 13:
        gate = dense(r, (r.node('ReduceMean', [z[0]], axes=[1, 2], keepdims=0), z[1].mean([2, 3])), 12, 'MatMul')
        gate = r.node('Sigmoid', [r.node('Reshape', [gate[0], r.tensor(np.array([-1, 1, 1, 12]))])]), torch.sigmoid(gate[1])[:, :, None, None]
        z = r.node('Mul', [z[0], gate[0]]), z[1] * gate[1]
    y = relu(r, (r.node('Add', [z[0], y[0]]), z[1] + y[1]))
    if opset == 13:
        y = dense(r, (r.node('ReduceMean', [y[0]], axes=[1, 2], keepdims=0), y[1].mean([2, 3])), 10, 'MatMul')
    else:
        y = dense(r, (r.node('Reshape', [y[0], r.tensor(np.array([-1, 12 * 81]))]), y[1].permute(0, 2, 3, 1).flatten(1)), 10, 'MatMul')
    y = r.node('Identity', [r.node('Softmax', [y[0]], axis=1)]), y[1].softmax(1)
    r.save(last, y[1], y[0], ['unk__2', 10])

# keras2onnx: weights turned in the graph, Squeeze, a Dropout, ReLU as Clip, a weight used twice.
r = Recorder('keras2onnx', 11, [('input_1', ['N', 33, 33, 3])], 'keras2onnx')
y = turn(r, (r.node('Cast', ['input_1'], to=1), last), first)
w = torch.randn(8, 3, 3, 3) / 5
y = r.node('Conv', [y[0], r.node('Transpose', [r.tensor(w.permute(2, 3, 1, 0).contiguous().numpy(), 'conv1_conv/kernel:0')], perm=[3, 2, 0, 1])], strides=[2, 2], auto_pad='VALID'), F.conv2d(y[1], w, None, 2)
y = r.node('Clip', [y[0], r.tensor(np.float32(0))]), torch.relu(y[1])
w = r.tensor((torch.randn(8, 8, 3, 3) / 8).numpy(), 'shared'); wt = torch.from_numpy(numpy_helper.to_array(r.tensors[-1]).copy())
for i in range(2): y = relu(r, (r.node('Conv', [y[0], w], pads=[1] * 4), F.conv2d(y[1], wt, None, 1, 1)))
y = r.node('Squeeze', [r.node('GlobalAveragePool', [y[0]])], axes=[2, 3]), y[1].mean([2, 3])
y = dense(r, (r.node('Dropout', [y[0]], ratio=.25), y[1]), 10, 'MatMul')
r.save(last, y[1], y[0], ['N', 10])

# Opset 18 and 21, as PyTorch 2 writes them: axes as inputs; a shape computed in the graph.
r = Recorder('opset18', 17, [('x', ['batch', 3, 33, 33])], 'pytorch')
y = block(r, ('x', last), 8, 2)
y = r.node('ReduceMean', [y[0], r.tensor(np.array([-1, -2]))], keepdims=1), y[1].mean([2, 3], True)
size = r.node('Gather', [r.node('Shape', [y[0]]), r.tensor(np.array(0))], axis=0)
shape = r.node('Concat', [r.node('Unsqueeze', [size, r.tensor(np.array([0]))]), r.tensor(np.array([-1]))], axis=0)
y = dense(r, (r.node('Reshape', [y[0], shape], allowzero=0), y[1].flatten(1)), 10, 'Gemm')
check = onnx.checker.check_model; onnx.checker.check_model = lambda model: None # This checker knows opset 17 at most.
r.opset = 18; r.save(last, y[1], y[0], ['batch', 10])
r.opset, r.name = 21, 'opset21'; r.save(last, y[1], y[0], ['batch', 10])
`;

describe.skipIf(!shared)('what other exporters write', () => {
  beforeAll(() => void runPython(recorded, folder.path, join(shared as string, 'oracle')), 60_000);

  test.each(['zoo-v1', 'zoo-v2', 'caffe2', 'tf2onnx', 'tf2onnx-old', 'keras2onnx', 'opset18', 'opset21'])(
    '%s',
    (name) => agree(name),
    30_000,
  );

  test('a softmax at the end leaves the logits as a feature', async () => {
    await using model = await load(file('tf2onnx.onnx'));
    expect(model.graph.outputs.map(({ name }) => name)).toEqual(['probabilities']);
    expect(Object.keys(model.graph.features)).toEqual(['logits']);
    expect(model.graph.inputs[0].shape).toEqual([1, 3, 33, 33]);
    // Its matrix is stored the other way round.
    await using same = await load(file('tf2onnx.onnx'), { classes: 10, newHead: true });
    expect(same.graph.outputs).toEqual(model.graph.outputs);
    await using asked = await load(file('tf2onnx.onnx'), { classes: 10 });
    expect(asked.report?.loaded).toBe(asked.graph.parameters.length);
  });

  test('a tensor that two layers use is one parameter', async () => {
    await using model = await load(file('keras2onnx.onnx'));
    expect(model.graph.parameters.filter(({ name }) => name.startsWith('shared'))).toHaveLength(1);
    expect((await model.weights()).get('conv1_conv/kernel:0')?.shape).toEqual([8, 3, 3, 3]);
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
