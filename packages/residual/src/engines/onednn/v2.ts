import { ResidualError } from '../../errors.js';
import { bytesOf, type Calls, check, dataTypeOf, dataTypes, dims, implemented, numbers } from './calls.js';
import type { Library, Native, Value } from './native.js';
import { training2 } from './v2-training.js';
import type { Made, MaybeHandle, Version } from './version.js';

// Sizes of the C API's structures in version 2.6 (of no later 2.x are they smaller), in bytes.
const descBytes = 696;
export const opBytes = {
  convolution: 5976,
  innerProduct: 5584,
  pooling: 3192,
  batchNorm: 3496,
  eltwise: 1416,
  binary: 2096,
  softmax: 2800,
  resampling: 2848,
  reduction: 1408,
} as const;

/** Where the fields of a memory descriptor lie. */
const field = { ndims: 0, dims: 8, dataType: 104, offset0: 304 } as const;

/** An op's structure, which a primitive's descriptor is made from; a backward op is given the forward op's as a hint. */
export type Describer = (
  name: string,
  signature: string,
  bytes: number,
) => (attr: bigint, hint: bigint | null, ...values: Value[]) => MaybeHandle;

function describer(library: Library, calls: Calls): Describer {
  const createPd = library.func('dnnl_primitive_desc_create', 'ppppp');
  return (name, signature, bytes) => {
    const init = library.func(name, `p${signature}`);
    return (attr, hint, ...values) => {
      const desc = new Uint8Array(bytes);
      if (!implemented(init(desc, ...values), name)) return undefined;
      const status = createPd(calls.out, desc, attr, calls.engine, hint);
      return implemented(status, `dnnl_primitive_desc_create after ${name}`) ? calls.made() : undefined;
    };
  };
}

/** oneDNN 2.6 and 2.7: descriptors are structures, int8 scales are fixed when a primitive is made. */
export function version2(library: Library, native: Native, calls: Calls): Version {
  const initByTag = library.func('dnnl_memory_desc_init_by_tag', 'pipii');
  const initPart = library.func('dnnl_memory_desc_init_submemory', 'pppp');
  const appendSum = library.func('dnnl_post_ops_append_sum_v2', 'pfi');
  const appendEltwise = library.func('dnnl_post_ops_append_eltwise', 'pfiff');
  const setOutputScales = library.func('dnnl_primitive_attr_set_output_scales', 'pzip');
  const inference = numbers.forwardInference;

  const hintedOp = describer(library, calls);
  function op(name: string, signature: string, bytes: number): (attr: bigint, ...values: Value[]) => MaybeHandle {
    const describe = hintedOp(name, signature, bytes);
    return (attr, ...values) => describe(attr, null, ...values);
  }

  const convolution = op('dnnl_dilated_convolution_forward_desc_init', 'iipppppppp', opBytes.convolution);
  const innerProduct = op('dnnl_inner_product_forward_desc_init', 'ipppp', opBytes.innerProduct);
  const pooling = op('dnnl_pooling_forward_desc_init', 'iipppppp', opBytes.pooling);
  const batchNorm = op('dnnl_batch_normalization_forward_desc_init', 'ipfu', opBytes.batchNorm);
  const eltwise = op('dnnl_eltwise_forward_desc_init', 'iipff', opBytes.eltwise);
  const binary = op('dnnl_binary_desc_init', 'ippp', opBytes.binary);
  const softmax = op('dnnl_softmax_v2_forward_desc_init', 'iippi', opBytes.softmax);
  const resampling = op('dnnl_resampling_forward_desc_init', 'iippp', opBytes.resampling);

  const whole = (md: Uint8Array): Made => ({ md, offset: 0 });
  const equal = (a: Value, b: Value): boolean => calls.descsEqual(a, b) === 1;

  return {
    eltwise: { relu: 31, sigmoid: 175, linear: 127 },
    normalise: { scale: 8, shift: 16, relu: 4 },
    postOpBase: 16384,
    // 2.6.3 takes the first picture's for all of them in its convolutions by matrix products, channels-last.
    perPicturePostOps: false,
    sidePadding8: true,
    // 2.6.3 leaves the correction for signed sources out when it lays such weights out.
    eightByEight8: false,
    narrowSteps: true,
    emptyColumns: true,
    // 2.6.3 leaves the sum out for them, or ends the process.
    emptyRowsInSums: false,
    gaplessCopy: undefined,
    tags: {
      any: 1,
      a: 2,
      ab: 3,
      abc: 4,
      abcd: 5,
      abcde: 7,
      abcdef: 8,
      acb: 17,
      acdb: 20,
      aBc16b: 47,
      aBc8b: 60,
      aBcd16b: 69,
      aBcd8b: 93,
    },

    describe(shape, dtype, tag) {
      const md = new Uint8Array(descBytes);
      check(initByTag(md, shape.length, dims(shape), dataTypes[dtype], tag), 'dnnl_memory_desc_init_by_tag');
      return whole(md);
    },
    part(of, offsets, shape) {
      const md = new Uint8Array(descBytes);
      if (initPart(md, of.md, dims(shape), dims(offsets)) !== 0) return undefined;
      // The way to the part is kept beside the descriptor: fast kernels refuse descriptors that do not begin at zero.
      const view = new DataView(md.buffer);
      const offset = Number(view.getBigInt64(field.offset0, true)) * bytesOf[of.dtype];
      view.setBigInt64(field.offset0, 0n, true);
      return { md, offset: of.offset + offset };
    },
    copy(pointer) {
      const md = new Uint8Array(descBytes);
      native.copy(md, pointer, descBytes);
      return whole(md);
    },
    read(md) {
      if (typeof md === 'bigint') throw new ResidualError('ENGINE', 'oneDNN: a descriptor of version 3 in version 2');
      const view = new DataView(md.buffer);
      const shape = Array.from({ length: view.getInt32(field.ndims, true) }, (_, i) =>
        Number(view.getBigInt64(field.dims + 8 * i, true)),
      );
      return { shape, dtype: dataTypeOf(view.getInt32(field.dataType, true)) };
    },

    appendSum(postOps, scale, dtype) {
      check(appendSum(postOps, scale, dtype), 'dnnl_post_ops_append_sum_v2');
    },
    appendEltwise(postOps, kind, alpha) {
      check(appendEltwise(postOps, 1, kind, alpha, 0), 'dnnl_post_ops_append_eltwise');
    },
    setScales(attr, { src, weights, dst, residual = 1 }, { plain }) {
      // dst = output · (sum of products + bias) + sum · (what dst holds): where the post-ops let it, the division by
      // dst's scale is part of `output` and `sum`, else it is done last.
      const divisor = plain ? dst : 1;
      const output = weights.map((scale) => (src * scale) / divisor);
      setOutput(attr, output, output.length === 1 ? 0 : 2);
      return {
        sum: residual / divisor,
        last: plain ? 1 : 1 / dst,
        biasFactor: weights.map((scale) => 1 / (src * scale)),
        runtime: [],
      };
    },
    setReorderScales(attr, scales, mask) {
      setOutput(
        attr,
        scales.map((scale) => 1 / scale),
        mask,
      );
      return [];
    },

    convolution: (attr, { training, algorithm, src, weights, bias, dst, strides, dilates, before, after }) =>
      convolution(
        attr,
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
      ),
    innerProduct: (attr, src, weights, bias, dst) => innerProduct(attr, inference, src, weights, bias, dst),
    pooling: (attr, { kind, src, dst, strides, kernel, before, after }) =>
      pooling(attr, inference, kind, src, dst, strides, kernel, before, after),
    batchNorm: (attr, src, dst, epsilon, flags) =>
      equal(src, dst) ? batchNorm(attr, inference, src, epsilon, flags) : undefined,
    eltwiseOp: (attr, kind, src, dst) => (equal(src, dst) ? eltwise(attr, inference, kind, src, 0, 0) : undefined),
    binary: (attr, kind, src, src1, dst) => binary(attr, kind, src, src1, dst),
    softmax: (attr, kind, src, dst, axis) => softmax(attr, inference, kind, src, dst, axis),
    resampling: (attr, kind, src, dst) => resampling(attr, inference, kind, null, src, dst),

    training: training2(library, calls, hintedOp),
  };

  function setOutput(attr: bigint, scales: Float32Array, mask: number): void {
    const status = setOutputScales(attr, scales.length, mask, scales);
    check(status, 'dnnl_primitive_attr_set_output_scales');
  }
}
