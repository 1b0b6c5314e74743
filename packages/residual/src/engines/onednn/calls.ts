import { ResidualError } from '../../errors.js';
import type { Convolution, DataType, Pooling } from './dnnl.js';
import type { CFunction, Library } from './native.js';
import type { Geometry, Window } from './version.js';

/** The C functions and numbers that versions 2 and 3 have alike. */
export interface Calls {
  readonly engine: bigint;
  readonly stream: bigint;
  /** Where a function writes the handle it made: `made()` reads it. */
  readonly out: BigUint64Array;
  made(): bigint;
  readonly memoryCreate: CFunction;
  readonly memoryDestroy: CFunction;
  readonly descBytes: CFunction;
  readonly descsEqual: CFunction;
  readonly attrCreate: CFunction;
  readonly attrDestroy: CFunction;
  readonly attrScratchpad: CFunction;
  readonly attrFastMath: CFunction;
  readonly attrPostOps: CFunction;
  readonly postOpsCreate: CFunction;
  readonly postOpsDestroy: CFunction;
  readonly appendBinary: CFunction;
  readonly pdQuery: CFunction;
  readonly pdQueryDesc: CFunction;
  readonly pdDestroy: CFunction;
  readonly primitiveCreate: CFunction;
  readonly primitiveDestroy: CFunction;
  readonly reorderCreate: CFunction;
  readonly execute: CFunction;
  readonly wait: CFunction;
}

/** Binds them, and makes the engine and the stream: of the CPU, in order. */
export function bindCalls(library: Library): Calls {
  const out = new BigUint64Array(1);
  check(library.func('dnnl_engine_create', 'piz')(out, 1, 0), 'dnnl_engine_create');
  const engine = out[0];
  check(library.func('dnnl_stream_create', 'ppu')(out, engine, 1), 'dnnl_stream_create');
  return {
    engine,
    stream: out[0],
    out,
    made: () => out[0],
    memoryCreate: library.func('dnnl_memory_create', 'pppp'),
    memoryDestroy: library.func('dnnl_memory_destroy', 'p'),
    descBytes: library.func('dnnl_memory_desc_get_size', 'p', 'size_t'),
    descsEqual: library.func('dnnl_memory_desc_equal', 'pp'),
    attrCreate: library.func('dnnl_primitive_attr_create', 'p'),
    attrDestroy: library.func('dnnl_primitive_attr_destroy', 'p'),
    attrScratchpad: library.func('dnnl_primitive_attr_set_scratchpad_mode', 'pi'),
    attrFastMath: library.func('dnnl_primitive_attr_set_fpmath_mode', 'pi'),
    attrPostOps: library.func('dnnl_primitive_attr_set_post_ops', 'pp'),
    postOpsCreate: library.func('dnnl_post_ops_create', 'p'),
    postOpsDestroy: library.func('dnnl_post_ops_destroy', 'p'),
    appendBinary: library.func('dnnl_post_ops_append_binary', 'pip'),
    pdQuery: library.func('dnnl_primitive_desc_query', 'piip'),
    pdQueryDesc: library.func('dnnl_primitive_desc_query_md', 'pii', 'void *'),
    pdDestroy: library.func('dnnl_primitive_desc_destroy', 'p'),
    primitiveCreate: library.func('dnnl_primitive_create', 'pp'),
    primitiveDestroy: library.func('dnnl_primitive_destroy', 'p'),
    reorderCreate: library.func('dnnl_reorder_primitive_desc_create', 'pppppp'),
    execute: library.func('dnnl_primitive_execute', 'ppip'),
    wait: library.func('dnnl_stream_wait', 'p'),
  };
}

const meanings: Record<number, string> = {
  1: 'out of memory',
  2: 'invalid arguments',
  3: 'not implemented',
  5: 'a runtime error',
};

const unimplemented = 3;

/** @throws ENGINE for any status but success. */
export function check(status: unknown, what: string): void {
  if (status === 0) return;
  const meaning = meanings[status as number] ?? 'an unknown failure';
  throw new ResidualError('ENGINE', `oneDNN: ${what} answered status ${status}, ${meaning}`, {
    function: what,
    status: Number(status),
  });
}

/** Whether it went well: false when the library has no implementation. @throws ENGINE for any other failure. */
export function implemented(status: unknown, what: string): boolean {
  if (status === unimplemented) return false;
  check(status, what);
  return true;
}

export const dataTypes = { bf16: 2, f32: 3, s32: 4, s8: 5, u8: 6 } satisfies Record<DataType, number>;

const names = new Map(Object.entries(dataTypes).map(([name, number]) => [number, name as DataType]));

/** @throws ENGINE for a type that no op of ours has. */
export function dataTypeOf(number: number): DataType {
  const name = names.get(number);
  if (name === undefined)
    throw new ResidualError('ENGINE', `oneDNN chose numbers of type ${number}, which is not known`);
  return name;
}

export const bytesOf: Record<DataType, number> = { bf16: 2, f32: 4, s32: 4, s8: 1, u8: 1 };

/** What both versions number alike. */
export const numbers = {
  forwardTraining: 64,
  forwardInference: 96,
  backward: 128,
  convolution: { direct: 1, winograd: 2 },
  pooling: { max: 511, 'mean with padding': 767, mean: 1023 },
  binary: { add: 131056, mul: 131057, greater: 131063 },
  softmax: { plain: 196608, log: 196609 },
  resampling: { nearest: 196592, linear: 196593 },
  reduction: { sum: 196596, mean: 196598 },
  query: {
    implementation: 8,
    src: 129,
    diffSrc: 130,
    weights: 131,
    diffWeights: 132,
    dst: 133,
    diffDst: 134,
    workspace: 135,
    scratchpad: 136,
  },
  scratchpadUser: 1,
  fastMathBf16: 1,
  useGlobalStatistics: 1,
} as const;

/** As many sizes as the C API's `dnnl_dims_t` has. */
export function dims(sizes: readonly number[]): BigInt64Array {
  const out = new BigInt64Array(12);
  sizes.forEach((size, i) => {
    out[i] = BigInt(size);
  });
  return out;
}

/** A convolution's steps and padding, as the C API takes them. */
export function geometry(op: Pick<Convolution, 'algorithm' | 'stride' | 'dilation' | 'padding'>): Geometry {
  const [top, left, bottom, right] = op.padding;
  return {
    algorithm: numbers.convolution[op.algorithm],
    strides: dims(op.stride),
    dilates: dims(op.dilation.map((step) => step - 1)),
    before: dims([top, left]),
    after: dims([bottom, right]),
  };
}

/** A pooling's. */
export function window({ kind, kernel, stride, padding }: Omit<Pooling, 'src' | 'dst'>): Window {
  const [top, left, bottom, right] = padding;
  return {
    kind: numbers.pooling[kind],
    strides: dims(stride),
    kernel: dims(kernel),
    before: dims([top, left]),
    after: dims([bottom, right]),
  };
}

/** Whether every window holds what is pooled: the library has no mean of nothing, and a maximum that is a number. */
export const poolsPixels = ({ kind, kernel, padding }: Pick<Pooling, 'kind' | 'kernel' | 'padding'>): boolean =>
  kind === 'mean with padding' || padding.every((zeros, side) => zeros < kernel[side % 2]);

/** Makes an op's descriptor from the forward op's, which it needs beside its own operands. */
export function hinted(
  { pdDestroy }: Calls,
  hint: bigint | undefined,
  make: (hint: bigint) => bigint | undefined,
): bigint | undefined {
  if (hint === undefined) return undefined;
  try {
    return make(hint);
  } finally {
    pdDestroy(hint);
  }
}
