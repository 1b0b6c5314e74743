import { ResidualError } from '../../errors.js';
import { formatShape, type Shape, sizeOf } from '../../tensor.js';
import { attributesOf, type Context, type MadeAttributes } from './attributes.js';
import { bytesOf, type Calls, check, dims, implemented, numbers } from './calls.js';
import type { Argument, Attributes, DataType, Desc, Dnnl, Layout, Primitive } from './dnnl.js';
import type { Native } from './native.js';
import type { Described, Made, MaybeHandle, Md, Tag, Version } from './version.js';

/** Everything of `Dnnl` that does not depend on how the library was found. */
export type Api = Omit<Dnnl, 'version' | 'major' | 'file' | 'processor' | 'setThreads'>;

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

  type Given = { readonly src: Desc; readonly weights?: Desc; readonly dst: Desc };

  /** A descriptor that was given is kept, as it knows the part of a memory it stands for; an open one is asked for. */
  function chosen(pd: bigint, given: Desc, what: number): Desc {
    if (!inside(given).open) return given;
    const made = version.copy(calls.pdQueryDesc(pd, what, 0) as bigint);
    const { shape, dtype } = version.read(made.md);
    return described(made, shape, dtype);
  }

  function scratchBytes(pd: bigint): number {
    const pointer = calls.pdQueryDesc(pd, numbers.query.scratchpad, 0) as bigint | null;
    return pointer ? Number(calls.descBytes(pointer)) : 0;
  }

  function implementation(pd: bigint): string {
    check(calls.pdQuery(pd, numbers.query.implementation, 0, calls.out), 'dnnl_primitive_desc_query');
    return native.string(calls.made());
  }

  /** Makes the primitive of the descriptor that `describeOp` makes under the attributes. */
  function make(
    { src, weights, dst }: Given,
    attributes: MadeAttributes,
    describeOp: (attr: bigint) => MaybeHandle,
  ): Primitive | undefined {
    let pd: MaybeHandle;
    try {
      pd = describeOp(attributes.handle);
      if (pd === undefined) return undefined;
      const facts = {
        implementation: implementation(pd),
        src: chosen(pd, src, numbers.query.src),
        ...(weights && { weights: chosen(pd, weights, numbers.query.weights) }),
        dst: chosen(pd, dst, numbers.query.dst),
        scratchpad: scratchBytes(pd),
        ...(attributes.biasFactor && { biasFactor: attributes.biasFactor }),
      };
      if (!implemented(calls.primitiveCreate(calls.out, pd), 'dnnl_primitive_create')) return undefined;
      const handle = calls.made();
      const constants = attributes.runtime.map(({ argument, values }) => constant(argument, values));
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
  }

  /** Whether a post-op is one that the library answers wrongly. */
  const misread = ({ postOps = [], dst }: Attributes & { dst: Desc }): boolean =>
    !version.perPicturePostOps &&
    postOps.some((post) => 'by' in post && post.by.shape[0] > 1 && sizeOf(post.by.shape) < sizeOf(dst.shape));

  const attributes = (given: Attributes = {}, more: Pick<Context, 'grouped' | 'reorder'> = {}): MadeAttributes =>
    attributesOf(given, { calls, version, md, ...more });

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
      const sides = op.padding[0] + op.padding[2] === 0 && op.padding[1] + op.padding[3] > 0;
      if (misread(op) || (!version.sidePadding8 && op.src.dtype === 's8' && grouped && sides)) return undefined;
      const [top, left, bottom, right] = op.padding;
      return make(op, attributes(op, { grouped }), (attr) =>
        version.convolution(attr, {
          algorithm: numbers.convolution[op.algorithm],
          src: md(op.src),
          weights: md(op.weights),
          bias: op.bias ? md(op.bias) : null,
          dst: md(op.dst),
          strides: dims(op.stride),
          dilates: dims(op.dilation.map((step) => step - 1)),
          before: dims([top, left]),
          after: dims([bottom, right]),
        }),
      );
    },
    innerProduct: (op) =>
      misread(op)
        ? undefined
        : make(op, attributes(op), (attr) =>
            version.innerProduct(attr, md(op.src), md(op.weights), op.bias ? md(op.bias) : null, md(op.dst)),
          ),
    pooling({ src, dst, kernel, stride, padding: [top, left, bottom, right], kind }) {
      return make({ src, dst }, attributes(), (attr) =>
        version.pooling(attr, {
          kind: numbers.pooling[kind],
          src: md(src),
          dst: md(dst),
          strides: dims(stride),
          kernel: dims(kernel),
          before: dims([top, left]),
          after: dims([bottom, right]),
        }),
      );
    },
    batchNorm({ src, dst, epsilon, relu }) {
      const { scale, shift, relu: fused } = version.normalise;
      const flags = numbers.useGlobalStatistics | scale | shift | (relu ? fused : 0);
      return make({ src, dst }, attributes(), (attr) => version.batchNorm(attr, md(src), md(dst), epsilon, flags));
    },
    eltwise: ({ src, dst, kind }) =>
      make({ src, dst }, attributes(), (attr) => version.eltwiseOp(attr, version.eltwise[kind], md(src), md(dst))),
    binary: (op) =>
      make(op, attributes(op), (attr) =>
        version.binary(attr, numbers.binary[op.kind], md(op.src), md(op.src1), md(op.dst)),
      ),
    softmax: ({ src, dst, axis }) =>
      make({ src, dst }, attributes(), (attr) => version.softmax(attr, md(src), md(dst), axis)),
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
