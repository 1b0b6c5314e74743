// A network over TensorFlow.js' fused operations, in its layout (channels last), as its converter would write it:
// BatchNorm folded, bias and ReLU inside the convolution.

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { setThreadsCount, setWasmPaths, version_wasm } from '@tensorflow/tfjs-backend-wasm';
import * as tf from '@tensorflow/tfjs-core';
import { foldBatchNorm } from '../packages/residual/dist/graph/passes.js';
import { noisePictures } from './networks.js';

export async function network({ graph: plain, weights: unfolded }, threads) {
  const { graph, weights } = foldBatchNorm(plain, unfolded);
  if (graph.nodes.some(({ op, attributes }) => op === 'conv2d' && attributes.groups !== 1))
    throw new Error('TensorFlow.js has no grouped convolution');
  setWasmPaths(`${join(dirname(createRequire(import.meta.url).resolve('@tensorflow/tfjs-backend-wasm')))}/`);
  setThreadsCount(threads);
  await tf.setBackend('wasm');
  await tf.ready();
  const parameters = new Map(
    graph.parameters.map(({ value, name }) => {
      const { shape, data } = weights.get(name);
      const tensor = tf.tensor(new Float32Array(data), shape);
      return [value, shape.length === 4 ? tf.transpose(tensor, [2, 3, 1, 0]) : tensor];
    }),
  );
  const readers = new Map();
  for (const node of graph.nodes)
    for (const value of node.inputs) readers.set(value, [...(readers.get(value) ?? []), node]);
  const frame = ([top, left, bottom, right]) => [
    [0, 0],
    [top, bottom],
    [left, right],
    [0, 0],
  ];

  /** Those that a convolution has done with its own ReLU. */
  const joined = new Set();
  const ops = {
    conv2d({ inputs: [x, weight, bias], outputs, attributes: { stride, padding, dilation } }, values) {
      const [next, more] = readers.get(outputs[0]);
      const activation = next.op === 'relu' && !more ? 'relu' : 'linear';
      const done = tf.fused.conv2d({
        x: values.get(x),
        filter: parameters.get(weight),
        bias: bias === undefined ? undefined : parameters.get(bias),
        strides: stride,
        pad: frame(padding),
        dilations: dilation,
        activation,
      });
      if (activation === 'relu') joined.add(next);
      return done;
    },
    relu: (node, values) => (joined.has(node) ? values.get(node.inputs[0]) : tf.relu(values.get(node.inputs[0]))),
    add: ({ inputs: [a, b] }, values) => tf.add(values.get(a), values.get(b)),
    maxPool: ({ inputs: [x], attributes: { kernel, stride, padding } }, values) =>
      tf.maxPool(values.get(x), kernel, stride, frame(padding)),
    globalAvgPool: ({ inputs: [x] }, values) => tf.mean(values.get(x), [1, 2]),
    flatten: ({ inputs: [x] }, values) => tf.reshape(values.get(x), [values.get(x).shape[0], -1]),
    dense: ({ inputs: [x, weight, bias] }, values) =>
      tf.fused.matMul({ a: values.get(x), b: parameters.get(weight), transposeB: true, bias: parameters.get(bias) }),
    dropout: ({ inputs: [x] }, values) => values.get(x),
  };

  return {
    runtime: `tfjs-backend-wasm ${version_wasm}`,
    async prepare(batch) {
      const pictures = noisePictures([batch, 3, 224, 224]);
      const input = tf.transpose(tf.tensor(new Float32Array(pictures.data), pictures.shape), [0, 2, 3, 1]);
      return {
        async run() {
          const result = tf.tidy(() => {
            const values = new Map([[graph.inputs[0].value, input]]);
            for (const node of graph.nodes) values.set(node.outputs[0], ops[node.op](node, values));
            return values.get(graph.outputs[0].value);
          });
          const logits = await result.data();
          result.dispose();
          return logits;
        },
      };
    },
  };
}
