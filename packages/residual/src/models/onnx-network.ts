import type { DType, Shape } from '../tensor.js';

// What an ONNX model says, as plain data: its reader (weights/onnx.ts) writes it, models/onnx-graph.ts reads it.

/** A whole or real number, a list of them, text; anything else (a subgraph, a tensor) by what it is. */
export type OnnxAttribute = number | readonly number[] | string | { readonly other: string };

/** An operator applied; an empty name among the inputs is one left out. */
export interface OnnxNode {
  readonly name: string;
  /** The operator, behind its domain when that is not ONNX's own: `Conv`, `com.microsoft.FusedConv`. */
  readonly type: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: ReadonlyMap<string, OnnxAttribute>;
}

/** A tensor that the model holds: an initializer, or what a Constant or ConstantOfShape node makes. */
export interface OnnxConstant {
  readonly dtype: DType;
  readonly shape: Shape;
  /** Its numbers, where it is small: shapes, sides, factors. */
  readonly values?: readonly number[];
}

export interface OnnxInput {
  readonly name: string;
  /** Undefined sizes may vary; without a shape not even the number of axes is known. */
  readonly shape?: readonly (number | undefined)[];
}

export interface OnnxNetwork {
  readonly name: string;
  /** The program that wrote it: `pytorch`, `tf2onnx`. */
  readonly producer: string;
  /** Version of ONNX's own operators. */
  readonly opset: number;
  /** Without those that an initializer sets. */
  readonly inputs: readonly OnnxInput[];
  readonly outputs: readonly string[];
  /** As the file orders them, without those that became tensors. */
  readonly nodes: readonly OnnxNode[];
  readonly tensors: ReadonlyMap<string, OnnxConstant>;
}

/** How a parameter is made of its tensor, where the layout does not say. */
export interface Arrangement {
  /** The tensor's axes in the parameter's order. */
  readonly permutation?: readonly number[];
  readonly factor?: number;
  /** The parameter's shape: the same elements in the same order, or one number repeated. */
  readonly shape: Shape;
}
