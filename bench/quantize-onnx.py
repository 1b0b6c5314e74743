"""The 8-bit QDQ form of a plain ONNX file: quantize-onnx.py FROM TO

As onnxruntime.quantization.quantize_static writes it (QuantFormat.QDQ): activations u8, weights s8 with one scale for each output
channel, biases s32. The activations' scales are not measured on pictures: the file is for timing, which does not depend on values."""
import sys
import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto

source, target = sys.argv[1:]
model = onnx.load(source)
graph = model.graph
weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
made_by = {output: node for node in graph.node for output in node.output}
readers = {}
for node in graph.node:
    for value in node.input:
        readers.setdefault(value, []).append(node)
results = {output.name for output in graph.output}
tensors, nodes, stored = [], [], {}


def constant(name, array):
    tensors.append(numpy_helper.from_array(array, name))
    return name


def positive(value):
    """Whether a value comes out of a ReLU, also by way of a pooling."""
    node = made_by.get(value)
    return node is not None and (node.op_type == 'Relu' or node.op_type in ('MaxPool', 'Flatten') and positive(node.input[0]))


def activation(value):
    """The value after a trip through 8 bits."""
    if value not in stored:
        scale = constant(value + '.scale', np.float32(0.02))
        zero = constant(value + '.zero', np.uint8(0 if positive(value) else 128))
        nodes.append(helper.make_node('QuantizeLinear', [value, scale, zero], [value + '.q']))
        nodes.append(helper.make_node('DequantizeLinear', [value + '.q', scale, zero], [value + '.dq']))
        stored[value] = value + '.dq'
    return stored[value]


def parameter(name, array, scale, dtype, limit):
    shape = [-1] + [1] * (array.ndim - 1)
    rounded = np.clip(np.round(array / scale.reshape(shape)), -limit, limit).astype(dtype)
    inputs = [constant(name + '.q', rounded), constant(name + '.scale', scale), constant(name + '.zero', np.zeros(len(scale), dtype))]
    nodes.append(helper.make_node('DequantizeLinear', inputs, [name + '.dq'], axis=0))
    return name + '.dq'


for node in graph.node:
    inputs = list(node.input)
    if node.op_type in ('Conv', 'Gemm'):
        weight = weights[inputs[1]]
        scale = (np.abs(weight).reshape(len(weight), -1).max(1) / 127).astype(np.float32)
        inputs[0] = activation(inputs[0])
        if len(inputs) > 2:
            inputs[2] = parameter(node.input[2], weights[inputs[2]], (0.02 * scale).astype(np.float32), np.int32, 2 ** 31 - 1)
        inputs[1] = parameter(node.input[1], weight, scale, np.int8, 127)
    elif node.op_type in ('Add', 'MaxPool', 'GlobalAveragePool', 'Flatten'):
        inputs = [activation(value) for value in inputs]
    nodes.append(helper.make_node(node.op_type, inputs, node.output, node.name))
    nodes[-1].attribute.extend(node.attribute)
    [output] = node.output
    # A result that goes into a ReLU alone is rounded behind it.
    behind = readers.get(output, [])
    if output not in results and not (len(behind) == 1 and behind[0].op_type == 'Relu'):
        activation(output)

quantized = helper.make_graph(nodes, graph.name, graph.input, graph.output, tensors)
done = helper.make_model(quantized, opset_imports=model.opset_import, ir_version=model.ir_version)
onnx.save(done, target)
