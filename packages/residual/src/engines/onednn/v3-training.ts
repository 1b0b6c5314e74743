import { type Calls, dims, hinted, numbers } from './calls.js';
import type { Creator } from './v3.js';
import type { VersionTraining } from './version.js';

/** The ops of training in oneDNN 3. */
export function training3(calls: Calls, op: Creator): VersionTraining {
  const training = numbers.forwardTraining;
  const convolution = op('dnnl_convolution_forward_primitive_desc_create', 'iipppppppp');
  const convolutionData = op('dnnl_convolution_backward_data_primitive_desc_create', 'ipppppppp');
  const convolutionWeights = op('dnnl_convolution_backward_weights_primitive_desc_create', 'ippppppppp');
  const innerProduct = op('dnnl_inner_product_forward_primitive_desc_create', 'ipppp');
  const innerProductData = op('dnnl_inner_product_backward_data_primitive_desc_create', 'pppp');
  const innerProductWeights = op('dnnl_inner_product_backward_weights_primitive_desc_create', 'ppppp');
  const batchNorm = op('dnnl_batch_normalization_forward_primitive_desc_create', 'ippfu');
  const batchNormBackward = op('dnnl_batch_normalization_backward_primitive_desc_create', 'ipppfup');
  const pooling = op('dnnl_pooling_forward_primitive_desc_create', 'iippppppp');
  const poolingBackward = op('dnnl_pooling_backward_primitive_desc_create', 'ipppppppp');
  const eltwise = op('dnnl_eltwise_forward_primitive_desc_create', 'iippff');
  const eltwiseBackward = op('dnnl_eltwise_backward_primitive_desc_create', 'ipppffp');
  const softmax = op('dnnl_softmax_forward_primitive_desc_create', 'iippi');
  const softmaxBackward = op('dnnl_softmax_backward_primitive_desc_create', 'ipppip');
  const resampling = op('dnnl_resampling_forward_primitive_desc_create', 'iippp');
  const resamplingBackward = op('dnnl_resampling_backward_primitive_desc_create', 'ipppp');
  const reduction = op('dnnl_reduction_primitive_desc_create', 'ippff');
  const createSum = op('dnnl_sum_primitive_desc_create', 'pipp');
  const byDst = { relu: 256, sigmoid: 260 };
  const dense = dims([]);

  return {
    shiftBackward: false,
    convolutionBackwardData(attr, { algorithm, diffSrc, weights, diffDst, strides, dilates, before, after }) {
      const geometry = [strides, dilates, before, after];
      const hint = convolution(training, algorithm, diffSrc, weights, null, diffDst, ...geometry, attr);
      return hinted(calls, hint, (forward) =>
        convolutionData(algorithm, diffSrc, weights, diffDst, ...geometry, forward, attr),
      );
    },
    convolutionBackwardWeights(attr, { algorithm, src, weights, diffWeights, diffBias, diffDst, ...geometry }) {
      const { strides, dilates, before, after } = geometry;
      const steps = [strides, dilates, before, after];
      const hint = convolution(training, algorithm, src, weights, diffBias, diffDst, ...steps, attr);
      return hinted(calls, hint, (forward) =>
        convolutionWeights(algorithm, src, diffWeights, diffBias, diffDst, ...steps, forward, attr),
      );
    },
    innerProductBackwardData: (attr, diffSrc, weights, diffDst) =>
      hinted(calls, innerProduct(training, diffSrc, weights, null, diffDst, attr), (forward) =>
        innerProductData(diffSrc, weights, diffDst, forward, attr),
      ),
    innerProductBackwardWeights: (attr, { src, weights, diffWeights, diffBias, diffDst }) =>
      hinted(calls, innerProduct(training, src, weights, diffBias, diffDst, attr), (forward) =>
        innerProductWeights(src, diffWeights, diffBias, diffDst, forward, attr),
      ),
    batchNorm: (attr, src, dst, epsilon, flags) => batchNorm(training, src, dst, epsilon, flags, attr),
    batchNormBackward: (attr, { src, diffSrc, diffDst, epsilon, flags }) =>
      hinted(calls, batchNorm(training, src, src, epsilon, flags, attr), (forward) =>
        batchNormBackward(numbers.backward, diffSrc, diffDst, src, epsilon, flags, forward, attr),
      ),
    pooling: (attr, { kind, src, dst, strides, kernel, before, after }) =>
      pooling(training, kind, src, dst, strides, kernel, dense, before, after, attr),
    poolingBackward(attr, { kind, diffSrc, diffDst, strides, kernel, before, after }) {
      const window = [strides, kernel, dense, before, after];
      return hinted(calls, pooling(training, kind, diffSrc, diffDst, ...window, attr), (forward) =>
        poolingBackward(kind, diffSrc, diffDst, ...window, forward, attr),
      );
    },
    eltwiseBackward: (attr, kind, dst, diffSrc, diffDst) =>
      hinted(calls, eltwise(training, byDst[kind], dst, dst, 0, 0, attr), (forward) =>
        eltwiseBackward(byDst[kind], diffSrc, diffDst, dst, 0, 0, forward, attr),
      ),
    softmaxBackward: (attr, kind, { dst, diffSrc, diffDst, axis }) =>
      hinted(calls, softmax(training, kind, dst, dst, axis, attr), (forward) =>
        softmaxBackward(kind, diffSrc, diffDst, dst, axis, forward, attr),
      ),
    resamplingBackward: (attr, kind, diffSrc, diffDst) =>
      hinted(calls, resampling(training, kind, null, diffSrc, diffDst, attr), (forward) =>
        resamplingBackward(kind, null, diffSrc, diffDst, forward, attr),
      ),
    sum: (attr, srcs, scales, dst) =>
      createSum(dst, srcs.length, scales, BigUint64Array.from(srcs as readonly bigint[]), attr),
    reduction: (attr, kind, src, dst) => reduction(kind, src, dst, 0, 0, attr),
  };
}
