import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runPython, shared, temporaryFolder } from '../testing.js';
import { load } from './load.js';
import { agreeWith, common } from './onnx.test.helper.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const file = (name: string) => join(folder.path, name);
const agree = agreeWith(folder.path);

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
