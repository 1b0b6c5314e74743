import { PbfReader, PbfWriter } from 'pbf';
import type { AnyTensor } from '../tensor.js';
import { placeTensor, readTensor } from './onnx-tensor.js';
import { openProtobuf } from './protobuf.js';
import { bytesSource } from './source.js';

/** A tensor as ONNX's test data has it: a file that is one TensorProto. */
export async function tensorOf(bytes: Uint8Array): Promise<{ name: string; tensor: AnyTensor }> {
  const source = bytesSource(bytes);
  const whole = { number: 0, wire: 'bytes', begin: 0, end: bytes.length, value: 0 } as const;
  const placed = await placeTensor(openProtobuf(source), whole);
  const nowhere = () => Promise.reject(new Error('no other file'));
  return { name: placed.name, tensor: await readTensor(source, placed, nowhere) };
}

/** The model with more initializers, each a TensorProto: inputs of those names are set by them. */
export function withInitializers(model: Uint8Array, tensors: readonly Uint8Array[]): Uint8Array {
  const to = new PbfWriter();
  const reader = new PbfReader(model);
  reader.readFields((field, _, from) => {
    if (field === 7) {
      const graph = from.readBytes();
      const more = new PbfWriter();
      for (const tensor of tensors) more.writeBytesField(5, tensor);
      to.writeBytesField(7, new Uint8Array(Buffer.concat([graph, more.finish()])));
    } else if (field === 8 || field === 2) to.writeBytesField(field, from.readBytes());
    else if (field === 1) to.writeVarintField(1, from.readVarint());
  }, undefined);
  return to.finish();
}

/** A tensor to be written; `data` are its little-endian bytes. */
export interface Written {
  readonly name: string;
  readonly dims: readonly number[];
  readonly type?: number;
  readonly data?: Uint8Array;
  readonly external?: Readonly<Record<string, string>>;
}

export interface WrittenNode {
  readonly type: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly name?: string;
  readonly attributes?: Readonly<Record<string, number | readonly number[] | string>>;
}

/** A model by hand, which may be wrong in any way. */
export function modelOf(parts: {
  nodes?: readonly WrittenNode[];
  tensors?: readonly Written[];
  inputs?: Readonly<Record<string, readonly (number | string)[]>>;
  outputs?: readonly string[];
  opset?: number;
}): Uint8Array {
  const to = new PbfWriter();
  to.writeVarintField(1, 8);
  to.writeMessage(7, (_, graph) => writeGraph(graph, parts), null);
  to.writeMessage(8, (_, opset) => opset.writeVarintField(2, parts.opset ?? 17), null);
  return to.finish();
}

function writeGraph(
  graph: PbfWriter,
  { nodes = [], tensors = [], inputs = {}, outputs = [] }: Parameters<typeof modelOf>[0],
): void {
  for (const node of nodes) graph.writeMessage(1, writeNode, node);
  graph.writeStringField(2, 'made');
  for (const tensor of tensors) graph.writeMessage(5, writeTensor, tensor);
  for (const [name, sizes] of Object.entries(inputs))
    graph.writeMessage(
      11,
      (_, input) => {
        input.writeStringField(1, name);
        input.writeMessage(
          2,
          (_, type) =>
            type.writeMessage(
              1,
              (_, tensor) => {
                tensor.writeVarintField(1, 1);
                tensor.writeMessage(
                  2,
                  (_, shape) => {
                    for (const size of sizes)
                      shape.writeMessage(
                        1,
                        (_, to) =>
                          typeof size === 'number' ? to.writeVarintField(1, size) : to.writeStringField(2, size),
                        null,
                      );
                  },
                  null,
                );
              },
              null,
            ),
          null,
        );
      },
      null,
    );
  for (const name of outputs) graph.writeMessage(12, (_, output) => output.writeStringField(1, name), null);
}

function writeNode({ name, type, inputs, outputs, attributes = {} }: WrittenNode, to: PbfWriter): void {
  for (const input of inputs) to.writeStringField(1, input);
  for (const output of outputs) to.writeStringField(2, output);
  if (name !== undefined) to.writeStringField(3, name);
  to.writeStringField(4, type);
  for (const [key, value] of Object.entries(attributes))
    to.writeMessage(
      5,
      (_, attribute) => {
        attribute.writeStringField(1, key);
        if (typeof value === 'number') attribute.writeVarintField(3, value);
        else if (typeof value === 'string') attribute.writeStringField(4, value);
        else for (const one of value) attribute.writeVarintField(8, one);
      },
      null,
    );
}

function writeTensor({ name, dims, type = 1, data, external }: Written, to: PbfWriter): void {
  for (const size of dims) to.writeVarintField(1, size);
  to.writeVarintField(2, type);
  to.writeStringField(8, name);
  if (data) to.writeBytesField(9, data);
  for (const [key, value] of Object.entries(external ?? {}))
    to.writeMessage(
      13,
      (_, entry) => {
        entry.writeStringField(1, key);
        entry.writeStringField(2, value);
      },
      null,
    );
  if (external) to.writeVarintField(14, 1);
}
