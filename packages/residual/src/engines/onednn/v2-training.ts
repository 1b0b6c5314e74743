import { type Calls, hinted, implemented, numbers } from './calls.js';
import type { Library } from './native.js';
import { type Describer, opBytes } from './v2.js';
import type { Md, VersionTraining } from './version.js';

/** The ops of training in oneDNN 2.6 and 2.7: gradients have the layout of what they are gradients of. */
export function training2(library: Library, calls: Calls, op: Describer): VersionTraining {
  const training = numbers.forwardTraining;
  const convolution = op('dnnl_dilated_convolution_forward_desc_init', 'iipppppppp', opBytes.convolution);
  const convolutionData = op('dnnl_dilated_convolution_backward_data_desc_init', 'ippppppp', opBytes.convolution);
  const convolutionWeights = op(
    'dnnl_dilated_convolution_backward_weights_desc_init',
    'ipppppppp',
    opBytes.convolution,
  );
  const innerProduct = op('dnnl_inner_product_forward_desc_init', 'ipppp', opBytes.innerProduct);
  const innerProductData = op('dnnl_inner_product_backward_data_desc_init', 'ppp', opBytes.innerProduct);
  const innerProductWeights = op('dnnl_inner_product_backward_weights_desc_init', 'pppp', opBytes.innerProduct);
  const batchNorm = op('dnnl_batch_normalization_forward_desc_init', 'ipfu', opBytes.batchNorm);
  const batchNormBackward = op('dnnl_batch_normalization_backward_desc_init', 'ippfu', opBytes.batchNorm);
  const pooling = op('dnnl_pooling_forward_desc_init', 'iipppppp', opBytes.pooling);
  const poolingBackward = op('dnnl_pooling_backward_desc_init', 'ipppppp', opBytes.pooling);
  const eltwise = op('dnnl_eltwise_forward_desc_init', 'iipff', opBytes.eltwise);
  const eltwiseBackward = op('dnnl_eltwise_backward_desc_init', 'ippff', opBytes.eltwise);
  const softmax = op('dnnl_softmax_v2_forward_desc_init', 'iippi', opBytes.softmax);
  const softmaxBackward = op('dnnl_softmax_v2_backward_desc_init', 'ipppi', opBytes.softmax);
  const resampling = op('dnnl_resampling_forward_desc_init', 'iippp', opBytes.resampling);
  const resamplingBackward = op('dnnl_resampling_backward_desc_init', 'ippp', opBytes.resampling);
  const reduction = op('dnnl_reduction_desc_init', 'ippff', opBytes.reduction);
  const createSum = library.func('dnnl_sum_primitive_desc_create', 'ppipppp');
  const byDst = { relu: 256, sigmoid: 260 };
  const equal = (a: Md, b: Md): boolean => calls.descsEqual(a, b) === 1;

  return {
    shiftBackward: true,
    convolutionBackwardData(attr, { algorithm, diffSrc, weights, diffDst, strides, dilates, before, after }) {
      const geometry = [strides, dilates, before, after];
      const hint = convolution(attr, null, training, algorithm, diffSrc, weights, null, diffDst, ...geometry);
      return hinted(calls, hint, (forward) =>
        convolutionData(attr, forward, algorithm, diffSrc, weights, diffDst, ...geometry),
      );
    },
    convolutionBackwardWeights(attr, { algorithm, src, weights, diffWeights, diffBias, diffDst, ...geometry }) {
      const { strides, dilates, before, after } = geometry;
      const steps = [strides, dilates, before, after];
      const hint = convolution(attr, null, training, algorithm, src, weights, diffBias, diffDst, ...steps);
      return hinted(calls, hint, (forward) =>
        convolutionWeights(attr, forward, algorithm, src, diffWeights, diffBias, diffDst, ...steps),
      );
    },
    innerProductBackwardData: (attr, diffSrc, weights, diffDst) =>
      hinted(calls, innerProduct(attr, null, training, diffSrc, weights, null, diffDst), (forward) =>
        innerProductData(attr, forward, diffSrc, weights, diffDst),
      ),
    innerProductBackwardWeights: (attr, { src, weights, diffWeights, diffBias, diffDst }) =>
      hinted(calls, innerProduct(attr, null, training, src, weights, diffBias, diffDst), (forward) =>
        innerProductWeights(attr, forward, src, diffWeights, diffBias, diffDst),
      ),
    batchNorm: (attr, src, dst, epsilon, flags) =>
      equal(src, dst) ? batchNorm(attr, null, training, src, epsilon, flags) : undefined,
    batchNormBackward: (attr, { src, diffSrc, diffDst, epsilon, flags }) =>
      equal(diffSrc, diffDst)
        ? hinted(calls, batchNorm(attr, null, training, src, epsilon, flags), (forward) =>
            batchNormBackward(attr, forward, numbers.backward, diffSrc, src, epsilon, flags),
          )
        : undefined,
    pooling: (attr, { kind, src, dst, strides, kernel, before, after }) =>
      pooling(attr, null, training, kind, src, dst, strides, kernel, before, after),
    poolingBackward(attr, { kind, diffSrc, diffDst, strides, kernel, before, after }) {
      const hint = pooling(attr, null, training, kind, diffSrc, diffDst, strides, kernel, before, after);
      return hinted(calls, hint, (forward) =>
        poolingBackward(attr, forward, kind, diffSrc, diffDst, strides, kernel, before, after),
      );
    },
    eltwiseBackward: (attr, kind, dst, diffSrc, diffDst) =>
      equal(diffSrc, diffDst)
        ? hinted(calls, eltwise(attr, null, training, byDst[kind], dst, 0, 0), (forward) =>
            eltwiseBackward(attr, forward, byDst[kind], diffSrc, dst, 0, 0),
          )
        : undefined,
    softmaxBackward: (attr, kind, { dst, diffSrc, diffDst, axis }) =>
      hinted(calls, softmax(attr, null, training, kind, dst, dst, axis), (forward) =>
        softmaxBackward(attr, forward, kind, diffSrc, diffDst, dst, axis),
      ),
    resamplingBackward: (attr, kind, diffSrc, diffDst) =>
      hinted(calls, resampling(attr, null, training, kind, null, diffSrc, diffDst), (forward) =>
        resamplingBackward(attr, forward, kind, null, diffSrc, diffDst),
      ),
    sum(attr, srcs, scales, dst) {
      const list = new Uint8Array(Buffer.concat(srcs as readonly Uint8Array[]));
      const status = createSum(calls.out, dst, srcs.length, scales, list, attr, calls.engine);
      return implemented(status, 'dnnl_sum_primitive_desc_create') ? calls.made() : undefined;
    },
    reduction: (attr, kind, src, dst) => reduction(attr, null, kind, src, dst, 0, 0),
  };
}
