import { ResidualError } from '../errors.js';
import { formatShape, sizeOf, type Tensor } from '../tensor.js';

/** How NumPy spells the element types that are read, and how each becomes float32. */
const elements: Record<string, { bytes: number; read(view: DataView, at: number): number }> = {
  '<f4': { bytes: 4, read: (view, at) => view.getFloat32(at, true) },
  '<f8': { bytes: 8, read: (view, at) => view.getFloat64(at, true) },
  '|u1': { bytes: 1, read: (view, at) => view.getUint8(at) },
};

/**
 * An array that NumPy wrote (`np.save`), as the input of a network: `[C, H, W]` or `[N, C, H, W]` of float32, float64 or
 * uint8 in C order. It is taken as it is: preprocessed already, no plan is applied.
 *
 * The format is NumPy's NEP 1: `\x93NUMPY`, version, length of the header (16 bits in version 1, 32 in 2 and 3), the
 * header as a Python dictionary, the elements.
 *
 * @param name the file, for errors
 * @returns `[N, C, H, W]` in float32; N = 1 for `[C, H, W]`
 * @throws IMAGE for another file, type, order or number of axes, and for a file that is cut off or too long.
 */
export function parseNpy(bytes: Uint8Array, name: string): Tensor {
  const refuse = (what: string) => new ResidualError('IMAGE', `${name}: ${what}`, { file: name });
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (String.fromCharCode(...bytes.subarray(0, 6)) !== '\x93NUMPY' || bytes.length < 12)
    throw refuse('no array in NumPy’s format; expected what np.save writes');
  const version = bytes[6];
  if (version < 1 || version > 3) throw refuse(`NumPy's format ${version} is not read; expected 1, 2 or 3`);
  const begin = version === 1 ? 10 : 12;
  const length = version === 1 ? view.getUint16(8, true) : view.getUint32(8, true);
  const end = begin + length;
  // np.load refuses longer headers, too (max_header_size).
  if (length > 10_000 || end > bytes.length) throw refuse('the header of its array is cut off or too long');

  const header = new TextDecoder().decode(bytes.subarray(begin, end));
  const field = (key: string, value: string) => new RegExp(`'${key}':\\s*${value}\\s*[,}]`).exec(header)?.[1];
  const [type, order, axes] = [
    field('descr', "'([^']*)'"),
    field('fortran_order', '(\\w+)'),
    field('shape', '\\(([\\d, ]*)\\)'),
  ];
  if (order === undefined || axes === undefined) throw refuse('the header of its array cannot be read');
  const element = Object.hasOwn(elements, type ?? '') ? elements[type as string] : undefined;
  if (element === undefined)
    throw refuse(
      `its elements are of type ${type ?? 'unknown'}; expected <f4, <f8 or |u1: save array.astype("float32")`,
    );
  if (order !== 'False') throw refuse('its array is in Fortran order; save np.ascontiguousarray(array)');
  const shape = axes.split(',').flatMap((axis) => (axis.trim() === '' ? [] : [Number(axis)]));
  if ((shape.length !== 3 && shape.length !== 4) || !shape.every((size) => Number.isSafeInteger(size) && size > 0))
    throw refuse(`its array is ${formatShape(shape)}; expected [C, H, W] or [N, C, H, W]`);
  const count = sizeOf(shape);
  if (bytes.length - end !== count * element.bytes)
    throw refuse(
      `${formatShape(shape)} of ${type} takes ${count * element.bytes} bytes but ${bytes.length - end} are there; it is cut off or damaged`,
    );
  const data = new Float32Array(count);
  for (let i = 0; i < count; i++) data[i] = element.read(view, end + i * element.bytes);
  return { dtype: 'float32', shape: shape.length === 3 ? [1, ...shape] : shape, data };
}
