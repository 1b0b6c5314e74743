import type { Tensor } from '../tensor.js';

type Tensors = Readonly<Record<string, Tensor>>;

/** NaN for whatever a picture of a batch gave: some kernels, and whole numbers of 8 bits, make a number of what is none. */
export function spoil(results: Tensors, picture: number): void {
  for (const { data, shape } of Object.values(results)) {
    const size = data.length / shape[0];
    data.fill(Number.NaN, picture * size, (picture + 1) * size);
  }
}

/** Pictures of a batch that hold NaN or infinity. */
export function unsound(inputs: Tensors): ReadonlySet<number> {
  const found = new Set<number>();
  for (const { data, shape } of Object.values(inputs)) {
    const size = data.length / shape[0];
    // A number times 0 is 0, or NaN.
    for (let i = 0; i < data.length; i++) if (data[i] * 0 !== 0) found.add(Math.floor(i / size));
  }
  return found;
}
