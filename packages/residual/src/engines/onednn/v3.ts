import { bytesOf, type Calls, check, dataTypeOf, dataTypes, dims, implemented, numbers } from './calls.js';
import type { Library, Native, Value } from './native.js';
import { training3 } from './v3-training.js';
import type { Made, MaybeHandle, Md, Version } from './version.js';

const query = { strides: 14, ndims: 256, dims: 257, dataType: 258, innerBlocks: 263 } as const;

/** Binds the function that makes a primitive's descriptor; the attributes are its last argument. */
export type Creator = (name: string, signature: string) => (...values: Value[]) => MaybeHandle;

/** Argument ids; a scale is passed as `scales | id`. */
const id = { src: 1, dst: 17, weights: 33, scales: 4096 } as const;

/** oneDNN 3: descriptors are handles, int8 scales are passed with each run. */
export function version3(library: Library, native: Native, calls: Calls): Version {
  const createByTag = library.func('dnnl_memory_desc_create_with_tag', 'pipii');
  const createByStrides = library.func('dnnl_memory_desc_create_with_strides', 'pipip');
  const createPart = library.func('dnnl_memory_desc_create_submemory', 'pppp');
  const clone = library.func('dnnl_memory_desc_clone', 'pp');
  const destroy = library.func('dnnl_memory_desc_destroy', 'p');
  const ask = library.func('dnnl_memory_desc_query', 'pip');
  const appendSum = library.func('dnnl_post_ops_append_sum', 'pfii');
  const appendEltwise = library.func('dnnl_post_ops_append_eltwise', 'piff');
  const setScalesMask = library.func('dnnl_primitive_attr_set_scales_mask', 'pii');
  const inference = numbers.forwardInference;

  const forgotten = new FinalizationRegistry<bigint>((handle) => void destroy(handle));

  /** The handle just made. It goes when nobody holds the descriptor any more: nothing else says when that is. */
  function owned(offset = 0): Made {
    const made = { md: calls.made(), offset };
    forgotten.register(made, made.md);
    return made;
  }

  const op: Creator = (name, signature) => {
    const create = library.func(name, `pp${signature}p`);
    return (...values) => (implemented(create(calls.out, calls.engine, ...values), name) ? calls.made() : undefined);
  };

  const convolution = op('dnnl_convolution_forward_primitive_desc_create', 'iipppppppp');
  const innerProduct = op('dnnl_inner_product_forward_primitive_desc_create', 'ipppp');
  const pooling = op('dnnl_pooling_forward_primitive_desc_create', 'iippppppp');
  const batchNorm = op('dnnl_batch_normalization_forward_primitive_desc_create', 'ippfu');
  const eltwise = op('dnnl_eltwise_forward_primitive_desc_create', 'iippff');
  const binary = op('dnnl_binary_primitive_desc_create', 'ippp');
  const softmax = op('dnnl_softmax_forward_primitive_desc_create', 'iippi');
  const resampling = op('dnnl_resampling_forward_primitive_desc_create', 'iippp');
  const dense = dims([]);

  function integer(md: Md, what: number): number {
    const out = new Int32Array(1);
    check(ask(md, what, out), 'dnnl_memory_desc_query');
    return out[0];
  }
  function sizes(md: Md, what: number, count: number): number[] {
    const [pointer, list] = [new BigUint64Array(1), new BigInt64Array(count)];
    check(ask(md, what, pointer), 'dnnl_memory_desc_query');
    native.copy(list, pointer[0], list.byteLength);
    return Array.from(list, Number);
  }

  return {
    eltwise: { relu: 32, sigmoid: 41, linear: 38 },
    normalise: { scale: 2, shift: 4, relu: 8 },
    postOpBase: 32768,
    perPicturePostOps: true,
    // 3.7.2 leaves the correction for signed sources out of the padded columns.
    sidePadding8: false,
    eightByEight8: true,
    // 3.7.2 and 3.12.1 leave rows of the result as they find them.
    narrowSteps: false,
    // 3.7.2 and 3.12.1 end the process there, where there is a bias.
    emptyColumns: false,
    emptyRowsInSums: true,
    // 3.7.2 copies parts that have the same strides as if all between their numbers were theirs; 3.12.1 no longer does.
    gaplessCopy: 'jit_direct_copy:uni',
    tags: {
      any: 1,
      a: 2,
      ab: 3,
      abc: 4,
      abcd: 5,
      abcde: 6,
      abcdef: 7,
      acb: 15,
      acdb: 22,
      aBc16b: 56,
      aBc8b: 69,
      aBcd16b: 78,
      aBcd8b: 102,
    },

    describe(shape, dtype, tag) {
      const status = createByTag(calls.out, shape.length, dims(shape), dataTypes[dtype], tag);
      check(status, 'dnnl_memory_desc_create_with_tag');
      return owned();
    },
    part(of, offsets, shape) {
      if (integer(of.md, query.innerBlocks) > 0) {
        const made = createPart(calls.out, of.md, dims(shape), dims(offsets)) === 0;
        return made ? owned(of.offset) : undefined;
      }
      // The way to the part is kept beside the descriptor: fast kernels refuse descriptors that do not begin at zero.
      const strides = sizes(of.md, query.strides, of.shape.length);
      const offset = offsets.reduce((sum, at, axis) => sum + at * strides[axis], 0) * bytesOf[of.dtype];
      const status = createByStrides(calls.out, shape.length, dims(shape), dataTypes[of.dtype], dims(strides));
      return status === 0 ? owned(of.offset + offset) : undefined;
    },
    copy(pointer) {
      check(clone(calls.out, pointer), 'dnnl_memory_desc_clone');
      return owned();
    },
    read(md) {
      const shape = sizes(md, query.dims, integer(md, query.ndims));
      return { shape, dtype: dataTypeOf(integer(md, query.dataType)) };
    },

    appendSum(postOps, scale, dtype) {
      check(appendSum(postOps, scale, 0, dtype), 'dnnl_post_ops_append_sum');
    },
    appendEltwise(postOps, kind, alpha) {
      check(appendEltwise(postOps, kind, alpha, 0), 'dnnl_post_ops_append_eltwise');
    },
    setScales(attr, { src, weights, dst, residual = 1 }, { grouped }) {
      // dst = (src · weights · sum of products + bias + residual · (what dst holds)) / dst's scale.
      const perChannel = weights.length > 1 ? (grouped ? 3 : 1) : 0;
      const runtime = [mask(attr, id.src, 0, Float32Array.of(src)), mask(attr, id.weights, perChannel, weights)];
      if (dst !== 1) runtime.push(mask(attr, id.dst, 0, Float32Array.of(dst)));
      return { sum: residual, last: 1, runtime };
    },
    setReorderScales: (attr, scales, axes) => [mask(attr, id.dst, axes, scales)],

    convolution: (attr, { training, algorithm, src, weights, bias, dst, strides, dilates, before, after }) =>
      convolution(
        training ? numbers.forwardTraining : inference,
        algorithm,
        src,
        weights,
        bias,
        dst,
        strides,
        dilates,
        before,
        after,
        attr,
      ),
    innerProduct: (attr, src, weights, bias, dst) => innerProduct(inference, src, weights, bias, dst, attr),
    pooling: (attr, { kind, src, dst, strides, kernel, before, after }) =>
      pooling(inference, kind, src, dst, strides, kernel, dense, before, after, attr),
    batchNorm: (attr, src, dst, epsilon, flags) => batchNorm(inference, src, dst, epsilon, flags, attr),
    eltwiseOp: (attr, kind, src, dst) => eltwise(inference, kind, src, dst, 0, 0, attr),
    binary: (attr, kind, src, src1, dst) => binary(kind, src, src1, dst, attr),
    softmax: (attr, kind, src, dst, axis) => softmax(inference, kind, src, dst, axis, attr),
    resampling: (attr, kind, src, dst) => resampling(inference, kind, null, src, dst, attr),

    training: training3(calls, op),
  };

  function mask(attr: bigint, argument: number, axes: number, values: Float32Array) {
    check(setScalesMask(attr, argument, axes), 'dnnl_primitive_attr_set_scales_mask');
    return { argument: id.scales | argument, values };
  }
}
