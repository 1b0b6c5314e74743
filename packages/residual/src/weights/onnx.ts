import { unknownName } from '../errors.js';
import { mostNodes } from '../graph/graph.js';
import { blurTaps } from '../graph/ops.js';
import type { OnnxAttribute, OnnxConstant, OnnxInput, OnnxNode } from '../models/onnx-network.js';
import { type AnyTensor, type Shape, sizeOf, toFloat32 } from '../tensor.js';
import { type Checkpoint, checkTotal, type Metadata } from './checkpoint.js';
import { checkBeside, type Placed, placeTensor, readEntry, readTensor } from './onnx-tensor.js';
import { type Field, longest, openProtobuf, type Protobuf } from './protobuf.js';
import { type ByteSource, damaged, unsupported } from './source.js';

// ModelProto, GraphProto, NodeProto, AttributeProto of onnx.proto (github.com/onnx/onnx/blob/main/onnx/onnx.proto);
// the field numbers below are theirs.

/** Numbers of a tensor that the network may need as numbers: shapes, sides, factors. */
const [mostIntegers, mostReals] = [64, 16];
/** Bytes of a metadata property: the record of a model with many classes. */
const longestProperty = 2 ** 24;
const mostProperties = 1000;

interface Model {
  readonly tensors: Map<string, Placed>;
  readonly nodes: OnnxNode[];
  inputs: OnnxInput[];
  outputs: string[];
  name: string;
}

/**
 * Opens an ONNX model. Its tensors are the initializers, and what Constant nodes (and ConstantOfShape nodes of a constant
 * shape) make, by the names the operators read; `network` is the graph. Metadata: `producer`, `ir_version`, `opset` and
 * the model's own properties. Weights are not read, only passed over; those in other files of the model's folder are
 * looked up there when they are read.
 * @throws WEIGHTS_FORMAT when it is damaged, names a thing twice, or has parts beyond every network's measure.
 */
export async function openOnnx(source: ByteSource): Promise<Checkpoint> {
  const proto = openProtobuf(source);
  const opsets = new Map<string, number>();
  const properties: [string, string][] = [];
  let graph: Field | undefined;
  let [irVersion, producer, version] = [0, '', ''];
  for await (const field of proto.fields(0, source.size)) {
    if (field.number === 1) irVersion = field.value;
    else if (field.number === 2) producer = await proto.name(field);
    else if (field.number === 3) version = await proto.name(field);
    else if (field.number === 7) graph = field;
    else if (field.number === 8) opsets.set(...(await readOpset(proto, field)));
    else if (field.number === 14) properties.push(await readEntry(proto, field, longestProperty));
    if (properties.length > mostProperties)
      throw damaged(source, `it has more than ${mostProperties} metadata properties`);
  }
  if (!graph) throw damaged(source, 'it looks like an ONNX model but holds no graph');
  const beside = async (location: string) => (await import('#file')).openBeside(source, location);
  const model = await readGraph(proto, graph, beside);
  checkTotal(
    source,
    [...model.tensors.values()].filter(({ place }) => place.kind !== 'beside'),
  );

  // From IR version 3 on a model names its opsets, behind the graph: without them its end is missing.
  const opset = opsets.get('') ?? opsets.get('ai.onnx') ?? (irVersion < 3 ? 1 : undefined);
  if (opset === undefined) throw damaged(source, 'it names no opset of the standard operators');
  const metadata: Metadata = {
    ...Object.fromEntries(properties),
    producer: `${producer} ${version}`.trim(),
    ir_version: irVersion,
    opset,
  };
  const { name, nodes, inputs, outputs, tensors } = model;
  return {
    format: 'onnx',
    reason: `a model in ONNX's protocol buffer${producer ? `, written by ${producer}` : ''}`,
    tensors,
    metadata,
    network: { name, producer, opset, nodes, inputs, outputs, tensors: await constants(source, tensors, beside) },
    async read(name) {
      const placed = tensors.get(name);
      if (!placed) throw unknownName('tensor', name, tensors.keys());
      return readTensor(source, placed, beside);
    },
    check: () => checkBeside(tensors.values(), beside),
    close: () => source.close(),
  };
}

async function readOpset(proto: Protobuf, { begin, end }: Field): Promise<[domain: string, version: number]> {
  let [domain, version] = ['', 0];
  for await (const field of proto.fields(begin, end))
    if (field.number === 1) domain = await proto.name(field);
    else if (field.number === 2) version = field.value;
  return [domain, version];
}

type Beside = (location: string) => Promise<ByteSource>;

async function readGraph(proto: Protobuf, { begin, end }: Field, beside: Beside): Promise<Model> {
  const { source } = proto;
  const model: Model = { tensors: new Map(), nodes: [], inputs: [], outputs: [], name: '' };
  const nodes: Field[] = [];
  for await (const field of proto.fields(begin, end)) {
    if (field.number === 1) nodes.push(field);
    else if (field.number === 2) model.name = await proto.name(field);
    else if (field.number === 5) addTensor(source, model, await placeTensor(proto, field));
    else if (field.number === 11) model.inputs.push(await readInput(proto, field));
    else if (field.number === 12) model.outputs.push((await readInput(proto, field)).name);
    else if (field.number === 15) throw unsupported(source, 'it has sparse initializers, which are not read');
    if (Math.max(nodes.length, model.inputs.length, model.outputs.length, model.tensors.size) > mostNodes)
      throw unsupported(
        source,
        `its graph has more than ${mostNodes} operators, tensors, inputs or outputs, which is not read`,
      );
  }
  // Initializers may stand behind the operators; those that make tensors need them.
  for (const field of nodes) await readNode(proto, field, model, beside);
  model.inputs = model.inputs.filter(({ name }) => !model.tensors.has(name));
  return model;
}

function addTensor(source: ByteSource, model: Model, tensor: Placed): void {
  if (tensor.name === '') throw damaged(source, `tensor ${model.tensors.size} of its graph has no name`);
  if (model.tensors.has(tensor.name)) throw damaged(source, `it has two tensors called "${tensor.name}"`);
  model.tensors.set(tensor.name, tensor);
}

/** A ValueInfoProto: name, type → tensor type → shape → dimensions, each a number or the name of one that may vary. */
async function readInput(proto: Protobuf, input: Field): Promise<OnnxInput> {
  let name = '';
  let shape: (number | undefined)[] | undefined;
  for await (const field of proto.fields(input.begin, input.end)) {
    if (field.number === 1) name = await proto.name(field);
    if (field.number !== 2) continue;
    for await (const tensor of proto.fields(field.begin, field.end))
      if (tensor.number === 1)
        for await (const part of proto.fields(tensor.begin, tensor.end)) {
          if (part.number !== 2) continue;
          shape = [];
          for await (const dimension of proto.fields(part.begin, part.end)) {
            let size: number | undefined;
            for await (const value of proto.fields(dimension.begin, dimension.end))
              if (value.number === 1 && value.value > 0) size = value.value;
            shape.push(size);
          }
        }
  }
  return shape === undefined ? { name } : { name, shape };
}

/** Adds an operator to the model, or the tensor that it makes. */
async function readNode(proto: Protobuf, node: Field, model: Model, beside: Beside): Promise<void> {
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes = new Map<string, OnnxAttribute>();
  const tensors = new Map<string, Placed>();
  let [name, type, domain] = ['', '', ''];
  for await (const field of proto.fields(node.begin, node.end)) {
    if (field.number === 1) inputs.push(await proto.name(field));
    else if (field.number === 2) outputs.push(await proto.name(field));
    else if (field.number === 3) name = await proto.name(field);
    else if (field.number === 4) type = await proto.name(field);
    else if (field.number === 7) domain = await proto.name(field);
    else if (field.number === 5) {
      const { name, value } = await readAttribute(proto, field, outputs[0] ?? '');
      if ('place' in value) tensors.set(name, value);
      else attributes.set(name, value.plain);
    }
  }
  if (domain !== '' && domain !== 'ai.onnx') type = `${domain}.${type}`;
  const made = await madeTensor(proto.source, { type, inputs, outputs, attributes, tensors }, model, beside);
  if (made !== undefined) return addTensor(proto.source, model, made);
  for (const [name, { dtype }] of tensors) attributes.set(name, { other: `a tensor of ${dtype}` });
  model.nodes.push({ name, type, inputs, outputs, attributes });
}

type Read = { readonly name: string; readonly value: { readonly plain: OnnxAttribute } | Placed };

/** An AttributeProto; which of its fields holds the value, `type` says, but old files leave it out. */
async function readAttribute(proto: Protobuf, { begin, end }: Field, output: string): Promise<Read> {
  let name = '';
  let plain: OnnxAttribute = [];
  let tensor: Placed | undefined;
  const list: number[] = [];
  for await (const field of proto.fields(begin, end)) {
    if (field.number === 1) name = await proto.name(field);
    else if (field.number === 2) [plain] = await proto.floats(field);
    else if (field.number === 3) plain = field.value;
    else if (field.number === 4)
      plain = field.end - field.begin > longest ? { other: 'a long text' } : await oneLine(proto, field);
    else if (field.number === 5) tensor = await placeTensor(proto, field, output);
    else if (field.number === 6 || field.number === 11) plain = { other: 'a graph' };
    else if (field.number === 7) list.push(...(await proto.floats(field)));
    else if (field.number === 8) list.push(...(await proto.integers(field)));
    else if (field.number === 9 || field.number === 10) plain = { other: 'a list of texts or tensors' };
    else if (field.number === 22 || field.number === 23) plain = { other: 'sparse tensors' };
    else if (field.number === 21) plain = { other: `the argument ${await proto.name(field)} of a function` };
  }
  return { name, value: tensor ?? { plain: list.length > 0 ? list : plain } };
}

/** Settings are words; anything else is no setting of ours. */
async function oneLine(proto: Protobuf, field: Field): Promise<OnnxAttribute> {
  const text = await proto.text(field);
  return /\p{Cc}/u.test(text) ? { other: 'a text of several lines' } : text;
}

/** The tensor that a Constant node, or a ConstantOfShape node of a known shape, makes. */
async function madeTensor(
  source: ByteSource,
  {
    type,
    inputs,
    outputs,
    tensors,
  }: Pick<OnnxNode, 'type' | 'inputs' | 'outputs' | 'attributes'> & { tensors: ReadonlyMap<string, Placed> },
  model: Model,
  beside: Beside,
): Promise<Placed | undefined> {
  const [name] = outputs;
  const value = tensors.get('value');
  if (type === 'Constant') return value;
  const shape = type === 'ConstantOfShape' ? model.tensors.get(inputs[0] ?? '') : undefined;
  if (shape === undefined || sizeOf(shape.shape) > mostIntegers) return undefined;
  const sizes = [...(await readTensor(source, shape, beside)).data].map(Number);
  if (!isShape(sizes))
    throw damaged(source, `ConstantOfShape makes "${name}" of the shape [${sizes.join(', ')}], which is none`);
  if (value !== undefined && sizeOf(value.shape) !== 1)
    throw damaged(source, `ConstantOfShape makes "${name}" of ${sizeOf(value.shape)} values; one is due`);
  const one = value === undefined ? 0 : (await readTensor(source, value, beside)).data[0];
  return { name, dtype: value?.dtype ?? 'float32', shape: sizes, place: { kind: 'fill', value: one } };
}

const isShape = (sizes: Shape): boolean =>
  sizes.every((n) => Number.isSafeInteger(n) && n >= 0) && sizeOf(sizes) < 2 ** 31;

/** What the network must know of its tensors: shapes, and the numbers of the smallest. */
async function constants(
  source: ByteSource,
  tensors: ReadonlyMap<string, Placed>,
  beside: Beside,
): Promise<ReadonlyMap<string, OnnxConstant>> {
  const found = new Map<string, OnnxConstant>();
  for (const [name, placed] of tensors) {
    const { dtype, shape } = placed;
    const real = dtype.includes('float');
    const values =
      sizeOf(shape) <= (real ? mostReals : mostIntegers)
        ? numbersOf(await readTensor(source, placed, beside))
        : undefined;
    const blur = isBlurLike(placed) ? blurOf(await readTensor(source, placed, beside)) : undefined;
    found.set(name, { dtype, shape, ...(values && { values }), ...(blur !== undefined && { blur }) });
  }
  return found;
}

const numbersOf = (tensor: AnyTensor): number[] =>
  tensor.dtype === 'float64' || tensor.dtype === 'int64'
    ? Array.from(tensor.data, Number)
    : Array.from(toFloat32(tensor).data);

/** A kernel of one channel each, of a size that blurs have; that it is one, its numbers tell. */
const isBlurLike = ({ dtype, shape, place }: Placed): boolean =>
  dtype === 'float32' &&
  place.kind !== 'fill' &&
  shape.length === 4 &&
  shape[0] <= 4096 &&
  shape[1] === 1 &&
  shape[2] === shape[3] &&
  shape[2] >= 1 &&
  shape[2] <= 7;

function blurOf({ shape, data }: AnyTensor): number | undefined {
  const size = shape[2];
  const taps = blurTaps(size);
  const isTap = (x: number, i: number) => Math.abs(x - taps[i % size] * taps[Math.floor(i / size) % size]) < 1e-6;
  return Array.from(data, Number).every(isTap) ? size : undefined;
}
