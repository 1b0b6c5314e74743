import { type Calls, check, dataTypes, numbers } from './calls.js';
import type { Attributes, Desc, PostOp } from './dnnl.js';
import type { Md, ScaledAttributes, Version } from './version.js';

/** Attributes as the C API has them; `destroy` once the primitive is made. */
export interface MadeAttributes extends Pick<ScaledAttributes, 'biasFactor' | 'runtime'> {
  readonly handle: bigint;
  destroy(): void;
}

export interface Context {
  readonly calls: Calls;
  readonly version: Version;
  /** The weights have a first axis of groups. */
  readonly grouped?: boolean;
  /** The scales of a reorder, one for each index of the axes whose bits are set. */
  readonly reorder?: { readonly scales: Float32Array; readonly mask: number } | undefined;
  md(desc: Desc): Md;
}

const unscaled: ScaledAttributes = { sum: 1, last: 1, runtime: [] };

/** Whether a post-op may as well be done after a division by a positive number. */
const commutes = ({ op }: PostOp): boolean => op === 'sum' || op === 'relu';

/**
 * An op's attributes. Scratch memory is always the caller's, so that all primitives share one piece.
 * @throws ENGINE
 */
export function attributesOf({ postOps = [], scales, fastMath = false }: Attributes, context: Context): MadeAttributes {
  const { calls, version, reorder } = context;
  check(calls.attrCreate(calls.out), 'dnnl_primitive_attr_create');
  const handle = calls.made();
  const destroy = (): void => void calls.attrDestroy(handle);
  try {
    check(calls.attrScratchpad(handle, numbers.scratchpadUser), 'dnnl_primitive_attr_set_scratchpad_mode');
    if (fastMath) check(calls.attrFastMath(handle, numbers.fastMathBf16), 'dnnl_primitive_attr_set_fpmath_mode');
    const options = { plain: postOps.every(commutes), grouped: context.grouped ?? false };
    const scaled = scales ? version.setScales(handle, scales, options) : unscaled;
    setPostOps(handle, postOps, { sum: scales && scaled.sum, last: scaled.last }, context);
    const runtime = reorder ? version.setReorderScales(handle, reorder.scales, reorder.mask) : scaled.runtime;
    return { handle, destroy, runtime, ...(scaled.biasFactor && { biasFactor: scaled.biasFactor }) };
  } catch (error) {
    destroy();
    throw error;
  }
}

function setPostOps(
  attr: bigint,
  postOps: readonly PostOp[],
  { sum, last }: { sum: number | undefined; last: number },
  { calls, version, md }: Context,
): void {
  if (postOps.length === 0 && last === 1) return;
  check(calls.postOpsCreate(calls.out), 'dnnl_post_ops_create');
  const list = calls.made();
  try {
    for (const post of postOps)
      switch (post.op) {
        case 'sum':
          // Type 0: read as the destination's own.
          version.appendSum(list, sum ?? post.scale ?? 1, post.dtype ? dataTypes[post.dtype] : 0);
          break;
        case 'relu':
        case 'sigmoid':
          version.appendEltwise(list, version.eltwise[post.op], 0);
          break;
        case 'add':
        case 'mul':
          check(calls.appendBinary(list, numbers.binary[post.op], md(post.by)), 'dnnl_post_ops_append_binary');
      }
    if (last !== 1) version.appendEltwise(list, version.eltwise.linear, last);
    check(calls.attrPostOps(attr, list), 'dnnl_primitive_attr_set_post_ops');
  } finally {
    calls.postOpsDestroy(list);
  }
}
