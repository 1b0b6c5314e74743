import { PbfWriter } from 'pbf';
import { ResidualError } from '../../errors.js';
import type { Shape } from '../../tensor.js';

// Field numbers below are those of onnx.proto (github.com/onnx/onnx/blob/main/onnx/onnx.proto).

/** An attribute by its type: whole number, list of them, string, or a real number. */
export type OnnxAttribute = number | readonly number[] | string | { readonly float: number };

export interface OnnxNode {
  readonly name: string;
  readonly type: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, OnnxAttribute>>;
}

export interface Initializer {
  readonly name: string;
  readonly type: 'float32' | 'int64';
  readonly shape: Shape;
  /** Read once, when the bytes are written. */
  read(): Float32Array | BigInt64Array;
}

export interface OnnxModel {
  readonly name: string;
  /** Inputs are float32; a dimension is a size or the name of one that may vary. */
  readonly inputs: readonly { readonly name: string; readonly shape: readonly (number | string)[] }[];
  readonly outputs: readonly { readonly name: string }[];
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly Initializer[];
}

/** Protocol buffers cannot be longer, and ONNX Runtime refuses them. */
const longest = 2 ** 31 - 1;
const irVersion = 8;
const opset = 17;
const elementType = { float32: 1, int64: 7 } as const;
const elementBytes = { float32: 4, int64: 8 } as const;
const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;

/**
 * The model as an ONNX file (IR version 8, opset 17). The weights are copied once, straight into the result.
 * @param allocate makes the memory of the result; plain memory when left out.
 * @throws ENGINE when it would be longer than 2 GB.
 */
export function modelBytes(
  model: OnnxModel,
  allocate = (length: number): Uint8Array<ArrayBuffer> => new Uint8Array(length),
): Uint8Array<ArrayBuffer> {
  const tensors = model.initializers.map((initializer) => {
    const { name, type, shape } = initializer;
    const length = shape.reduce((bytes, size) => bytes * size, elementBytes[type]);
    const fields = written((to) => {
      for (const size of shape) to.writeVarintField(1, size);
      to.writeVarintField(2, elementType[type]);
      to.writeStringField(8, name);
      writeLength(to, 9, length);
    });
    const head = written((to) => writeLength(to, 5, fields.length + length));
    return { initializer, head, fields, length };
  });
  const rest = written((to) => writeGraph(to, model));
  const graphLength = tensors.reduce(
    (sum, { head, fields, length }) => sum + head.length + fields.length + length,
    rest.length,
  );
  const start = written((to) => {
    to.writeVarintField(1, irVersion);
    to.writeStringField(2, 'residual');
    to.writeMessage(8, (version, version_) => version_.writeVarintField(2, version), opset);
    writeLength(to, 7, graphLength);
  });
  const total = start.length + graphLength;
  if (total > longest)
    throw new ResidualError(
      'ENGINE',
      `${model.name}: as an ONNX model it takes ${(total / 1e9).toFixed(1)} GB but the format ends at 2.1 GB; use engine "reference"`,
      { bytes: total, limit: longest },
    );

  const bytes = allocate(total);
  let end = 0;
  const append = (piece: Uint8Array) => {
    bytes.set(piece, end);
    end += piece.length;
  };
  append(start);
  append(rest);
  for (const { initializer, head, fields } of tensors) {
    append(head);
    append(fields);
    const data = initializer.read();
    append(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return bytes;
}

function written(write: (to: PbfWriter) => void): Uint8Array {
  const to = new PbfWriter();
  write(to);
  return to.finish();
}

/** The start of a field whose `length` bytes follow. */
function writeLength(to: PbfWriter, field: number, length: number): void {
  to.writeTag(field, 2);
  to.writeVarint(length);
}

/** All of a graph but its initializers. */
function writeGraph(to: PbfWriter, model: OnnxModel): void {
  for (const node of model.nodes) to.writeMessage(1, writeNode, node);
  to.writeStringField(2, model.name);
  for (const input of model.inputs) to.writeMessage(11, writeValue, input);
  for (const output of model.outputs) to.writeMessage(12, writeValue, output);
}

function writeNode({ name, type, inputs, outputs, attributes }: OnnxNode, to: PbfWriter): void {
  for (const input of inputs) to.writeStringField(1, input);
  for (const output of outputs) to.writeStringField(2, output);
  to.writeStringField(3, name);
  to.writeStringField(4, type);
  for (const attribute of Object.entries(attributes)) to.writeMessage(5, writeAttribute, attribute);
}

function writeAttribute([name, value]: [string, OnnxAttribute], to: PbfWriter): void {
  to.writeStringField(1, name);
  if (typeof value === 'number') {
    to.writeVarintField(3, value);
    to.writeVarintField(20, attributeType.int);
  } else if (typeof value === 'string') {
    to.writeStringField(4, value);
    to.writeVarintField(20, attributeType.string);
  } else if ('float' in value) {
    to.writeFloatField(2, value.float);
    to.writeVarintField(20, attributeType.float);
  } else {
    for (const item of value) to.writeVarintField(8, item);
    to.writeVarintField(20, attributeType.ints);
  }
}

/** A float32 value; without a shape, its reader infers it. */
function writeValue(value: { name: string; shape?: readonly (number | string)[] }, to: PbfWriter): void {
  to.writeStringField(1, value.name);
  nest(to, [2, 1], (type) => {
    type.writeVarintField(1, elementType.float32);
    if (value.shape === undefined) return;
    nest(type, [2], (shape) => {
      for (const size of value.shape ?? [])
        nest(shape, [1], (dimension) =>
          typeof size === 'number' ? dimension.writeVarintField(1, size) : dimension.writeStringField(2, size),
        );
    });
  });
}

/** Writes inside message fields within message fields. */
function nest(to: PbfWriter, [field, ...deeper]: readonly number[], write: (to: PbfWriter) => void): void {
  to.writeMessage(field, (_, inner) => (deeper.length > 0 ? nest(inner, deeper, write) : write(inner)), null);
}
