import { ResidualError } from '../../errors.js';
import { formatShape, type Shape, sizeOf } from '../../tensor.js';
import { trainingApi } from './api-training.js';
import { attributesOf, type Context, type MadeAttributes } from './attributes.js';
import { bytesOf, type Calls, check, geometry, implemented, numbers, poolsPixels, window } from './calls.js';
import type { Argument, Attributes, Convolution, DataType, Desc, Dnnl, Layout, Primitive, Ready } from './dnnl.js';
import type { Native } from './native.js';
import type { Described, Made, MaybeHandle, Md, Tag, Version } from './version.js';

/** Everything of `Dnnl` that does not depend on how the library was found. */
export type Api = Omit<Dnnl, 'version' | 'major' | 'file' | 'processor' | 'setThreads'>;

/** A descriptor that the library may choose. */
type Operand = 'src' | 'weights' | 'dst' | 'diffSrc' | 'diffWeights' | 'diffDst';

/** Makes a primitive of the descriptor that `describeOp` makes; `fixed` are numbers that every run passes. */
export type Make = <T extends Partial<Record<Operand, Desc>>>(
  given: T,
  attributes: MadeAttributes,
  describeOp: (attr: bigint) => MaybeHandle,
  fixed?: readonly { readonly argument: number; readonly values: Float32Array }[],
) => (T & Ready & Pick<Primitive, 'biasFactor'>) | undefined;

/** Joins what both versions of the C API have alike with what one of them has for itself. */
export function makeApi(native: Native, calls: Calls, version: Version, options: { avx512: boolean }): Api {
  const plain: readonly Tag[] = ['a', 'ab', 'abc', 'abcd', 'abcde', 'abcdef'];
  const blocked: readonly Tag[] = options.avx512 ? ['a', 'ab', 'aBc16b', 'aBcd16b'] : ['a', 'ab', 'aBc8b', 'aBcd8b'];
  const tags: Record<Layout, readonly Tag[]> = {
    any: plain.map(() => 'any'),
    plain,
    channelsLast: ['a', 'ab', 'acb', 'acdb'],
    blocked,
  };

  const described = (made: Made, shape: Shape, dtype: DataType, open = false): Described =>
    // `made` itself stays alive with it: version 3 frees the handle when it goes.
    Object.assign(made, { shape, dtype, open, bytes: Number(calls.descBytes(made.md)) });

  const inside = (desc: Desc): Described => desc as Described;
  const md = (desc: Desc): Md => inside(desc).md;

  function describe(shape: Shape, dtype: DataType, layout: Layout): Desc {
    const tag = tags[layout][shape.length - 1];
    if (tag === undefined)
      throw new ResidualError('ENGINE', `oneDNN: no layout "${layout}" for a tensor of shape ${formatShape(shape)}`);
    return described(version.describe(shape, dtype, version.tags[tag]), shape, dtype, tag === 'any');
  }

  function memory(desc: Desc, address: bigint): bigint {
    const { md, offset } = inside(desc);
    check(calls.memoryCreate(calls.out, md, calls.engine, address + BigInt(offset)), 'dnnl_memory_create');
    return calls.made();
  }
  const destroyMemory = (handle: bigint): void => check(calls.memoryDestroy(handle), 'dnnl_memory_destroy');

  /** Numbers that a run passes, in memory of their own. */
  function constant(argument: number, values: Float32Array): { argument: Argument; free(): void } {
    const address = native.allocate(values.byteLength);
    native.copy(address, values, values.byteLength);
    const handle = memory(describe([values.length], 'f32', 'plain'), address);
    return {
      argument: [argument, handle],
      free() {
        destroyMemory(handle);
        native.free(address);
      },
    };
  }

  /** A descriptor that was given is kept, as it knows the part of a memory it stands for; an open one is asked for. */
  function chosen(pd: bigint, given: Desc, what: number): Desc {
    if (!inside(given).open) return given;
    return copied(calls.pdQueryDesc(pd, what, 0) as bigint);
  }
  function copied(pointer: bigint): Desc {
    const made = version.copy(pointer);
    const { shape, dtype } = version.read(made.md);
    return described(made, shape, dtype);
  }

  /** The descriptor of what an op asks for beside its operands, and its size: 0 where it asks for nothing. */
  function asked(pd: bigint, what: number): { pointer: bigint; bytes: number } {
    const pointer = calls.pdQueryDesc(pd, what, 0) as bigint | null;
    return pointer ? { pointer, bytes: Number(calls.descBytes(pointer)) } : { pointer: 0n, bytes: 0 };
  }

  function implementation(pd: bigint): string {
    check(calls.pdQuery(pd, numbers.query.implementation, 0, calls.out), 'dnnl_primitive_desc_query');
    return native.string(calls.made());
  }

  /** Makes the primitive of the descriptor that `describeOp` makes under the attributes. */
  const make: Make = (given, attributes, describeOp, fixed = []) => {
    let pd: MaybeHandle;
    try {
      pd = describeOp(attributes.handle);
      if (pd === undefined) return undefined;
      const operands = { ...given };
      for (const name of Object.keys(given) as (keyof typeof given & Operand)[])
        operands[name] = chosen(pd, given[name] as Desc, numbers.query[name]) as never;
      const workspace = asked(pd, numbers.query.workspace);
      const facts = {
        ...operands,
        implementation: implementation(pd),
        ...(workspace.bytes > 0 && { workspace: copied(workspace.pointer) }),
        scratchpad: asked(pd, numbers.query.scratchpad).bytes,
        ...(attributes.biasFactor && { biasFactor: attributes.biasFactor }),
      };
      if (!implemented(calls.primitiveCreate(calls.out, pd), 'dnnl_primitive_create')) return undefined;
      const handle = calls.made();
      const constants = [...attributes.runtime, ...fixed].map(({ argument, values }) => constant(argument, values));
      let alive = true;
      return {
        handle,
        ...facts,
        constants: constants.map(({ argument }) => argument),
        destroy() {
          if (!alive) return;
          alive = false;
          for (const { free } of constants) free();
          check(calls.primitiveDestroy(handle), 'dnnl_primitive_destroy');
        },
      };
    } finally {
      attributes.destroy();
      if (pd !== undefined) calls.pdDestroy(pd);
    }
  };

  /** Whether a post-op is one that the library answers wrongly. */
  const misread = ({ postOps = [], dst }: Attributes & { dst: Desc }): boolean =>
    !version.perPicturePostOps &&
    postOps.some((post) => 'by' in post && post.by.shape[0] > 1 && sizeOf(post.by.shape) < sizeOf(dst.shape));

  /** Whether it is a convolution that the library computes wrongly. */
  function isWrong(op: Convolution): boolean {
    const { src, weights, dst, stride, padding, postOps = [] } = op;
    const isGrouped = weights.shape.length > src.shape.length;
    const isSigned = src.dtype === 's8';
    const isEightByEight = dst.shape[1] === 8 && sizeOf(weights.shape) === 64;
    const isPaddedAside = padding[0] + padding[2] === 0 && padding[1] + padding[3] > 0;
    const readsOneChannel = weights.shape.at(-3) === 1;
    const isNarrow = readsOneChannel && dst.shape[3] === 1 && stride[0] === 1 && stride[1] > 1;
    const isSum = postOps.some((post) => post.op === 'sum');
    return (
      misread(op) ||
      (!version.sidePadding8 && isSigned && isGrouped && isPaddedAside) ||
      (!version.eightByEight8 && isSigned && isGrouped && isEightByEight) ||
      (!version.narrowSteps && isNarrow) ||
      (!version.emptyColumns && hasEmptyWindow(op, 1)) ||
      (!version.emptyRowsInSums && isSum && hasEmptyWindow(op, 0))
    );
  }

  const attributes = (given: Attributes = {}, more: Pick<Context, 'grouped' | 'reorder'> = {}): MadeAttributes =>
    attributesOf(given, { calls, version, md, ...more });

  const operands = ({ src, weights, dst }: Pick<Convolution, 'src' | 'weights' | 'dst'>) => ({ src, weights, dst });

  function reorder({ src, dst, scales, axis = [] }: Parameters<Api['reorder']>[0]): Primitive | undefined {
    const mask = scales && scales.length > 1 ? [axis].flat().reduce((bits, i) => bits | (1 << i), 0) : 0;
    return make({ src, dst }, attributes({}, { reorder: scales && { scales, mask } }), (attr) => {
      const status = calls.reorderCreate(calls.out, md(src), calls.engine, md(dst), calls.engine, attr);
      return implemented(status, 'dnnl_reorder_primitive_desc_create') ? calls.made() : undefined;
    });
  }

  return {
    describe,
    part(of, offsets, shape) {
      const made = version.part(inside(of), offsets, shape);
      return made && described(made, shape, of.dtype);
    },
    areEqual: (a, b) => calls.descsEqual(md(a), md(b)) === 1,

    allocate: native.allocate,
    free: native.free,
    view: native.view,
    clear: native.clear,
    using: (data, use) => use(native.address(data)),
    memory,
    destroyMemory,

    convolution(op) {
      const grouped = op.weights.shape.length > op.src.shape.length;
      if (isWrong(op)) return undefined;
      return make(operands(op), attributes(op, { grouped }), (attr) =>
        version.convolution(attr, {
          ...geometry(op),
          training: op.training ?? false,
          src: md(op.src),
          weights: md(op.weights),
          bias: op.bias ? md(op.bias) : null,
          dst: md(op.dst),
        }),
      );
    },
    innerProduct: (op) =>
      misread(op)
        ? undefined
        : make(operands(op), attributes(op), (attr) =>
            version.innerProduct(attr, md(op.src), md(op.weights), op.bias ? md(op.bias) : null, md(op.dst)),
          ),
    pooling: ({ src, dst, ...op }) =>
      poolsPixels(op)
        ? make({ src, dst }, attributes(), (attr) =>
            version.pooling(attr, { ...window(op), src: md(src), dst: md(dst) }),
          )
        : undefined,
    batchNorm({ src, dst, epsilon, relu }) {
      const { scale, shift, relu: fused } = version.normalise;
      const flags = numbers.useGlobalStatistics | scale | shift | (relu ? fused : 0);
      return make({ src, dst }, attributes(), (attr) => version.batchNorm(attr, md(src), md(dst), epsilon, flags));
    },
    eltwise: ({ src, dst, kind }) =>
      make({ src, dst }, attributes(), (attr) => version.eltwiseOp(attr, version.eltwise[kind], md(src), md(dst))),
    binary: (op) =>
      make({ src: op.src, dst: op.dst }, attributes(op), (attr) =>
        version.binary(attr, numbers.binary[op.kind], md(op.src), md(op.src1), md(op.dst)),
      ),
    softmax: ({ src, dst, axis, log = false }) =>
      make({ src, dst }, attributes(), (attr) =>
        version.softmax(attr, numbers.softmax[log ? 'log' : 'plain'], md(src), md(dst), axis),
      ),
    resampling: ({ src, dst, kind }) =>
      make({ src, dst }, attributes(), (attr) => version.resampling(attr, numbers.resampling[kind], md(src), md(dst))),
    reorder(op) {
      const made = reorder(op);
      const hasGaps = ({ shape, dtype, bytes }: Desc): boolean => bytes !== sizeOf(shape) * bytesOf[dtype];
      if (made === undefined || made.implementation !== version.gaplessCopy) return made;
      if (!hasGaps(op.src) && !hasGaps(op.dst)) return made;
      made.destroy();
      return reorder({ ...op, scales: Float32Array.of(1) }); // That kernel knows no scales.
    },

    ...trainingApi({ make, attributes, describe, md, version: version.training, normalise: version.normalise }),

    postOpArgument: (index) => (version.postOpBase * (index + 1)) | 2,
    arguments(list) {
      const size = 16; // { int argument; padding; dnnl_memory_t memory; }
      const bytes = new DataView(new ArrayBuffer(size * list.length));
      list.forEach(([id, handle], i) => {
        bytes.setInt32(size * i, id, true);
        bytes.setBigUint64(size * i + 8, handle, true);
      });
      const address = native.allocate(bytes.byteLength);
      native.copy(address, bytes, bytes.byteLength);
      return { address, count: list.length };
    },
    freeArguments: ({ address }) => native.free(address),
    execute(primitive, { address, count }) {
      const status = calls.execute(primitive, calls.stream, count, address);
      if (status !== 0) check(status, 'dnnl_primitive_execute');
    },
    wait: () => check(calls.wait(calls.stream), 'dnnl_stream_wait'),
  };
}

/** Whether some window of a convolution reads nothing but zeros around the picture, along one axis: 0 is down. */
function hasEmptyWindow({ src, weights, dst, stride, dilation, padding }: Convolution, axis: 0 | 1): boolean {
  const [size, taps, windows] = [src, weights, dst].map(({ shape }) => shape.at(axis - 2) as number);
  const reads = (window: number): boolean =>
    Array.from({ length: taps }, (_, tap) => window * stride[axis] - padding[axis] + tap * dilation[axis]).some(
      (at) => at >= 0 && at < size,
    );
  return !Array.from({ length: windows }, (_, window) => reads(window)).every(Boolean);
}
