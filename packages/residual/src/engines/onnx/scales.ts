import { channelScales, roundEven, toEightBits } from '../../graph/eight-bits.js';
import type { ActivationScale } from '../../graph/quantisation.js';
import type { EightBits } from '../../tensor.js';
import type { Initializer, OnnxModel, OnnxNode } from './model.js';

/** What becomes 8 bits, by the names of the lowered model. */
export interface Scales {
  readonly activations: ReadonlyMap<string, ActivationScale>;
  /** Results of the convolutions and dense layers that compute in 8 bits. */
  readonly layers: ReadonlySet<string>;
}

/**
 * The model with its scales written down as ONNX does: QuantizeLinear and DequantizeLinear behind every value that is
 * kept in 8 bits, and DequantizeLinear before weights (s8, a scale for each output channel) and biases (32 bits, at
 * the scale of the products). ONNX Runtime joins these with the layers between into layers of whole numbers.
 */
export function withScales(
  model: OnnxModel,
  { activations, layers }: Scales,
  fresh: (wish: string) => string,
): OnnxModel {
  const initializers = new Map(model.initializers.map((initializer) => [initializer.name, initializer]));
  const nodes: OnnxNode[] = [];
  const constant = (wish: string, data: Initializer['data'], shape: readonly number[]): string => {
    const name = fresh(wish);
    initializers.set(name, { name, shape, data });
    return name;
  };

  /** Rounds `from` and gives the result, in real numbers again, the name `to`. */
  function round(from: string, to: string, { scale, dtype }: ActivationScale): void {
    const zero = dtype === 'u8' ? new Uint8Array(1) : new Int8Array(1);
    const grid = [constant(`${to}.scale`, Float32Array.of(scale), []), constant(`${to}.zero`, zero, [])];
    const whole = fresh(`${to}.eightBits`);
    nodes.push({ name: whole, type: 'QuantizeLinear', inputs: [from, ...grid], outputs: [whole], attributes: {} });
    nodes.push({
      name: fresh(`${to}.real`),
      type: 'DequantizeLinear',
      inputs: [whole, ...grid],
      outputs: [to],
      attributes: {},
    });
  }

  /** A weight or a bias in whole numbers, along its output channels. */
  function stored(of: string, whole: Int8Array | Int32Array, scales: Float32Array): string {
    const { shape } = initializers.get(of) as Initializer;
    const zeros = whole instanceof Int8Array ? new Int8Array(scales.length) : new Int32Array(scales.length);
    const inputs = [
      constant(`${of}.eightBits`, whole, shape),
      constant(`${of}.scale`, scales, [scales.length]),
      constant(`${of}.zero`, zeros, [scales.length]),
    ];
    const name = fresh(`${of}.real`);
    nodes.push({ name, type: 'DequantizeLinear', inputs, outputs: [name], attributes: { axis: 0 } });
    return name;
  }

  /** The inputs of a layer of 8 bits. */
  function layer([x, weight, bias]: readonly string[], { scale }: ActivationScale): string[] {
    const given = initializers.get(weight) as Initializer;
    const shift = bias === undefined ? undefined : (initializers.get(bias)?.data as Float32Array);
    const { whole, scales: own } = given.eightBits ?? wholeNumbers(given);
    // A bias must fit 32 bits at the scale of the products: next to it, so small a weight is nothing.
    const scales = own.map((s, c) => Math.max(s, Math.abs(shift?.[c] ?? 0) / (scale * 2 ** 30)) || 1);
    const inputs = [x, stored(weight, rescaled(whole, own, scales), scales)];
    if (shift === undefined) return inputs;
    const products = scales.map((s) => s * scale);
    return [
      ...inputs,
      stored(
        bias,
        Int32Array.from(shift, (b, c) => Math.round(b / products[c])),
        products,
      ),
    ];
  }

  const real = new Map<string, string>();
  for (const { name } of model.inputs) {
    const scale = activations.get(name);
    if (scale === undefined) continue;
    real.set(name, fresh(`${name}.rounded`));
    round(name, real.get(name) as string, scale);
  }
  for (const node of model.nodes) {
    const [result] = node.outputs;
    const scaleOfInput = activations.get(node.inputs[0]);
    let inputs = node.inputs.map((name) => real.get(name) ?? name);
    if (layers.has(result) && scaleOfInput) inputs = layer(inputs, scaleOfInput);
    const scale = activations.get(result);
    const outputs = scale ? [fresh(`${result}.exact`)] : node.outputs;
    nodes.push({ ...node, inputs, outputs });
    if (scale) round(outputs[0], result, scale);
  }
  const read = new Set(nodes.flatMap(({ inputs }) => inputs));
  return { ...model, nodes, initializers: [...initializers.values()].filter(({ name }) => read.has(name)) };
}

function wholeNumbers({ shape, data }: Initializer): EightBits {
  const weight = { dtype: 'float32', shape, data: data as Float32Array } as const;
  const scales = channelScales(weight);
  return { whole: toEightBits(weight, scales), scales };
}

/** The same weights on other grids: nearly always the same. */
function rescaled(whole: Int8Array, from: Float32Array, to: Float32Array): Int8Array {
  const row = whole.length / from.length;
  let changed = whole;
  from.forEach((scale, c) => {
    if (scale === to[c]) return;
    if (changed === whole) changed = whole.slice();
    for (let i = c * row; i < (c + 1) * row; i++) changed[i] = roundEven((whole[i] * scale) / to[c]);
  });
  return changed;
}
