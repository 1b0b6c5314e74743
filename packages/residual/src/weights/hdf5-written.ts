import { bytesPerElement, type Shape, sizeOf } from '../tensor.js';
import type { TensorInfo } from './checkpoint.js';

/** A dataset's header, and so the values that may stand in it, has less than this many bytes (H5Olayout.c: compact). */
const largestHeader = 65_536;

/**
 * Corners of the parts that a writer stores each as one piece and that hold one value throughout: what was never written
 * reads so, and so do zeros that were. A part without a place of its own in the file is left out.
 *
 * @param chunks size of a part; null where the dataset is one.
 */
export function* constantParts(
  data: Uint8Array,
  { dtype, shape }: TensorInfo,
  chunks: readonly number[] | null,
): Generator<readonly number[]> {
  const size = bytesPerElement[dtype];
  if (!shape.length || data.length === 0 || (!chunks && data.length < largestHeader)) return;
  const part = shape.map((n, axis) => chunks?.[axis] || n);
  const corner = shape.map(() => 0);
  for (;;) {
    if (isConstant(data, size, shape, corner, part)) yield [...corner];
    let axis = shape.length - 1;
    for (; axis >= 0; axis--) {
      corner[axis] += part[axis];
      if (corner[axis] < shape[axis]) break;
      corner[axis] = 0;
    }
    if (axis < 0) return;
  }
}

/** Whether all elements of a part are the first one, byte for byte. */
function isConstant(
  data: Uint8Array,
  size: number,
  shape: Shape,
  corner: readonly number[],
  part: readonly number[],
): boolean {
  const strides = shape.map((_, axis) => size * sizeOf(shape.slice(axis + 1)));
  const ends = corner.map((from, axis) => Math.min(from + part[axis], shape[axis]));
  const first = corner.reduce((at, index, axis) => at + index * strides[axis], 0);
  const last = shape.length - 1;
  const place = [...corner];
  for (;;) {
    const start = place.reduce((at, index, axis) => at + index * strides[axis], 0);
    const row = (ends[last] - place[last]) * size;
    for (let i = 0; i < row; i++) if (data[start + i] !== data[first + (i % size)]) return false;
    let axis = last - 1;
    for (; axis >= 0; axis--) {
      if (++place[axis] < ends[axis]) break;
      place[axis] = corner[axis];
    }
    if (axis < 0) return true;
  }
}
