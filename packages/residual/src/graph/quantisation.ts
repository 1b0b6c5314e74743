/** How an activation is kept in 8 bits: real value = stored number · scale; the stored zero is the real zero. */
export interface ActivationScale {
  readonly scale: number;
  /** `u8` where no value is below zero (after a ReLU), else `s8`. */
  readonly dtype: 'u8' | 's8';
}

/**
 * What makes a network one of 8 bits. It speaks of a network whose BatchNorms are folded (`foldBatchNorm`). Weights are
 * `s8`, one scale for each output channel: the largest magnitude of that channel over 127.
 */
export interface Quantisation {
  /**
   * By the input's name, or the name of the layer whose result it is; what is not listed stays float. Both operands of
   * an add are listed: an engine that adds within a convolution rounds the sum only, and has no use for the scale of
   * that convolution's own result; ONNX Runtime rounds both.
   */
  readonly activations: Readonly<Record<string, ActivationScale>>;
  /** Convolutions and dense layers that compute in float although their input is listed. */
  readonly float: readonly string[];
}
