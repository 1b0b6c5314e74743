import { PbfWriter } from 'pbf';
import type { EightBits, Shape } from '../../tensor.js';

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
  readonly shape: Shape;
  readonly data: Float32Array | BigInt64Array | Int32Array | Int8Array | Uint8Array;
  /** For a weight of 8 bits, which becomes another initializer: its numbers, and then `data` may be empty. */
  readonly eightBits?: EightBits | undefined;
}

export interface OnnxModel {
  readonly name: string;
  /** Inputs are float32; a dimension is a size or the name of one that may vary. */
  readonly inputs: readonly { readonly name: string; readonly shape: readonly (number | string)[] }[];
  readonly outputs: readonly { readonly name: string; readonly shape?: readonly (number | string)[] }[];
  readonly nodes: readonly OnnxNode[];
  readonly initializers: readonly Initializer[];
  /** Texts that go with the model, by key (`metadata_props`). */
  readonly metadata?: Readonly<Record<string, string>>;
}

const irVersion = 8;
const opset = 17;
const elementTypes = { Float32Array: 1, Uint8Array: 2, Int8Array: 3, Int32Array: 6, BigInt64Array: 7 } as const;
const float32 = elementTypes.Float32Array;
const attributeType = { float: 1, int: 2, string: 3, ints: 7 } as const;
const externalLocation = 1;

/** Initializers of fewer bytes stand in the graph itself, where ONNX Runtime wants small constants. */
const smallest = 1024;

/** A model in ONNX's parts: the graph, and the weights that it names as files of external data. */
export interface OnnxParts {
  readonly graph: Uint8Array;
  /** Each weight's own memory, nothing copied. */
  readonly files: readonly { readonly path: string; readonly data: Uint8Array }[];
}

/**
 * The model as ONNX (IR version 8, opset 17). The weights stand apart: inside the protocol buffer they would be copied
 * three times, and 2 GB would be the limit.
 */
export function modelParts(model: OnnxModel): OnnxParts {
  const files: { path: string; data: Uint8Array }[] = [];
  const graph = written((to) => {
    writeHead(to, model);
    nest(to, [7], (inside) => {
      writeGraph(inside, model);
      model.initializers.forEach((initializer, i) => {
        const { buffer, byteOffset, byteLength } = initializer.data;
        const data = new Uint8Array(buffer, byteOffset, byteLength);
        const path = byteLength < smallest ? undefined : `weight-${i}`;
        if (path !== undefined) files.push({ path, data });
        nest(inside, [5], (tensor) =>
          writeInitializer(tensor, initializer, path === undefined ? data : { location: path, offset: 0 }),
        );
      });
    });
  });
  return { graph, files };
}

/** A model as files: the first is the model, which names the second by its path. */
export interface OnnxFile {
  readonly path: string;
  readonly pieces: readonly Uint8Array[];
}

/** A protocol buffer holds at most 2 GB. */
const largest = 2 ** 31 - 1;

/**
 * The model as a file to keep: the weights stand inside, or, where all would be larger than `limit`, in a file `.data`
 * beside it. Nothing is copied.
 */
export function modelFiles(model: OnnxModel, path: string, limit = largest): readonly OnnxFile[] {
  const inside = pieces(model, (data) => data);
  if (lengthOf(inside) <= limit) return [{ path, pieces: inside }];
  const beside: Uint8Array[] = [];
  const location = `${path.replace(/^.*[/\\]/, '')}.data`;
  let at = 0;
  const graph = pieces(model, (data) => {
    if (data.length < smallest) return data;
    const offset = at;
    beside.push(data);
    at += data.length;
    return { location, offset };
  });
  return [
    { path, pieces: graph },
    { path: `${path}.data`, pieces: beside },
  ];
}

/** Where a weight's values are: here, or in a file. */
type Content = Uint8Array | { readonly location: string; readonly offset: number };

/** The graph's length stands before it, and so does each weight's: they are added up before anything is written. */
function pieces(model: OnnxModel, place: (data: Uint8Array) => Content): Uint8Array[] {
  const weights = model.initializers.flatMap((initializer) => {
    const { buffer, byteOffset, byteLength } = initializer.data;
    const content = place(new Uint8Array(buffer, byteOffset, byteLength));
    if (!(content instanceof Uint8Array))
      return [written((to) => nest(to, [5], (tensor) => writeInitializer(tensor, initializer, content)))];
    const tensor = written((to) => describe(to, initializer));
    const raw = [Uint8Array.of(tagOf(9), ...varint(content.length)), content];
    const length = tensor.length + lengthOf(raw);
    return [Uint8Array.of(tagOf(5), ...varint(length)), tensor, ...raw];
  });
  const graph = written((to) => writeGraph(to, model));
  const head = written((to) => writeHead(to, model));
  const length = graph.length + lengthOf(weights);
  return [head, Uint8Array.of(tagOf(7), ...varint(length)), graph, ...weights];
}

const lengthOf = (parts: readonly Uint8Array[]): number => parts.reduce((sum, { length }) => sum + length, 0);

/** A field of bytes, by its number. */
const tagOf = (field: number): number => (field << 3) | 2;

function varint(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return [...bytes, rest];
    bytes.push((rest % 128) | 128);
  }
}

/** All of a model but its graph. */
function writeHead(to: PbfWriter, { metadata = {} }: OnnxModel): void {
  to.writeVarintField(1, irVersion);
  to.writeStringField(2, 'residual');
  to.writeMessage(8, (version, to_) => to_.writeVarintField(2, version), opset);
  for (const [key, value] of Object.entries(metadata))
    nest(to, [14], (entry) => {
      entry.writeStringField(1, key);
      entry.writeStringField(2, value);
    });
}

function writeInitializer(to: PbfWriter, initializer: Initializer, content: Content): void {
  describe(to, initializer);
  if (content instanceof Uint8Array) {
    to.writeBytesField(9, content);
    return;
  }
  for (const [key, value] of Object.entries({ ...content, length: initializer.data.byteLength }))
    nest(to, [13], (entry) => {
      entry.writeStringField(1, key);
      entry.writeStringField(2, String(value));
    });
  to.writeVarintField(14, externalLocation);
}

/** All of a weight but its values. */
function describe(to: PbfWriter, { name, shape, data }: Initializer): void {
  for (const size of shape) to.writeVarintField(1, size);
  to.writeVarintField(2, elementTypes[data[Symbol.toStringTag]]);
  to.writeStringField(8, name);
}

function written(write: (to: PbfWriter) => void): Uint8Array {
  const to = new PbfWriter();
  write(to);
  return to.finish();
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
function writeValue(value: OnnxModel['outputs'][number], to: PbfWriter): void {
  to.writeStringField(1, value.name);
  nest(to, [2, 1], (type) => {
    type.writeVarintField(1, float32);
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
