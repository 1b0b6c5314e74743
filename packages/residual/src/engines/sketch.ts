import type { Graph, Node, Parameter } from '../graph/graph.js';
import { nodeShapes } from '../graph/graph.js';
import { type OpAttributes, type OpName, ops } from '../graph/ops.js';
import { type Shape, sharedFloats, sizeOf, type Tensor, type Weights } from '../tensor.js';

/** A small graph in the making, for the engines' self-check and tests: one input called `image`. */
export interface Sketch {
  /** The input's value. */
  readonly image: number;
  /** Adds a layer that reads `from`; `parameters` are the shapes of its parameters, as the op table orders them. */
  add<K extends OpName>(
    op: K,
    from: readonly number[],
    attributes: OpAttributes[K],
    parameters?: readonly Shape[],
    name?: string,
  ): number;
  shape(value: number): Shape;
  finish(outputs: Readonly<Record<string, number>>): Graph;
}

export function sketch(name: string, imageShape: Shape): Sketch {
  const nodes: Node[] = [];
  const parameters: Parameter[] = [];
  const shapes: Shape[] = [imageShape];
  return {
    image: 0,
    add(op, from, attributes, parameterShapes = [], layer = `${op}${nodes.length}`) {
      const inputs = [...from];
      parameterShapes.forEach((shape, i) => {
        const role = ops[op].parameters[i];
        const value = shapes.push(shape) - 1;
        parameters.push({ value, name: `${layer}.${role}`, shape, role, initial: 'he' });
        inputs.push(value);
      });
      const node = { op, name: layer, inputs, outputs: [shapes.length], attributes } as unknown as Node;
      shapes.push(nodeShapes(node, shapes)[0]);
      nodes.push(node);
      return shapes.length - 1;
    },
    shape: (value) => shapes[value],
    finish: (outputs) => ({
      name,
      inputs: [{ value: 0, name: 'image', shape: imageShape }],
      parameters,
      nodes,
      outputs: Object.entries(outputs).map(([output, value]) => ({ name: output, value })),
      features: {},
    }),
  };
}

/** Numbers in (−1, 1) that are the same everywhere for the same seed (a multiplicative congruential generator). */
export function noise(seed: number): () => number {
  let state = (seed % 2147483646) + 1;
  return () => {
    state = (state * 48271) % 2147483647;
    return (state / 2147483647) * 2 - 1;
  };
}

export function noiseTensor(shape: Shape, next: () => number, scale = 1, offset = 0): Tensor {
  const data = sharedFloats(sizeOf(shape));
  for (let i = 0; i < data.length; i++) data[i] = offset + scale * next();
  return { dtype: 'float32', shape, data };
}

/** Weights that keep activations near 1: uniform with variance 2 / fan-in, variances and gammas around 1. */
export function noiseWeights(graph: Graph, seed = 1): Weights {
  const next = noise(seed);
  return new Map(
    graph.parameters.map(({ name, shape, role }) => {
      if (role === 'weight') return [name, noiseTensor(shape, next, Math.sqrt(6 / sizeOf(shape.slice(1))))];
      return [name, noiseTensor(shape, next, 0.5, role === 'gamma' || role === 'variance' ? 1 : 0)];
    }),
  );
}
