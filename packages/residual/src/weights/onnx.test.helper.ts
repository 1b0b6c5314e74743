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
