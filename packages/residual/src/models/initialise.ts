import type { Graph } from '../graph/graph.js';
import { normal } from '../random.js';
import { sharedFloats, sizeOf, type Tensor, type Weights } from '../tensor.js';

/**
 * Weights of an untrained network: convolutions normal with variance 2 / fan-in (He et al. 2015b,
 * equation 10), dense layers uniform in ±sqrt(6 / (in + out)) (Glorot and Bengio 2010, equation 16, Keras' default),
 * BatchNorm the identity. The same seed gives the same weights.
 *
 * `only` limits it to some parameters, such as a new classifier.
 */
export function initialise(graph: Graph, options: { seed?: number; only?: (name: string) => boolean } = {}): Weights {
  const { seed = 0, only = () => true } = options;
  const random = uniform(seed);
  const weights = new Map<string, Tensor>();
  for (const { name, shape, initial } of graph.parameters) {
    if (!only(name)) continue;
    const data = sharedFloats(sizeOf(shape));
    const fanIn = sizeOf(shape.slice(1));
    if (initial === 'ones') data.fill(1);
    else if (initial === 'he') {
      const deviation = Math.sqrt(2 / fanIn);
      for (let i = 0; i < data.length; i++) data[i] = deviation * normal(random);
    } else if (initial === 'glorot') {
      const limit = Math.sqrt(6 / (fanIn + shape[0]));
      for (let i = 0; i < data.length; i++) data[i] = limit * (2 * random() - 1);
    }
    weights.set(name, { dtype: 'float32', shape, data });
  }
  return weights;
}

/** Uniform numbers in [0, 1) from a 32-bit seed (Tommy Ettinger's Mulberry32). */
export function uniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}
