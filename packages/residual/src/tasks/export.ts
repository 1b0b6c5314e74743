import { writeFileAtomic } from '#file';
import { lower } from '../engines/onnx/lower.js';
import { modelFiles, type OnnxModel } from '../engines/onnx/model.js';
import { ResidualError } from '../errors.js';
import { type Graph, inferShapes } from '../graph/graph.js';
import { foldBatchNorm, prune } from '../graph/passes.js';
import { type Shape, weightsOf } from '../tensor.js';
import { recordKey, recordText } from '../weights/record.js';
import { checkWeights, type Filled, recordOf, type Savable, type Watched, watch } from './savable.js';

export interface ExportOptions extends Watched {
  /** Join each BatchNorm with the convolution before it: fewer layers, and weights that cannot be trained further. */
  readonly fold?: boolean | undefined;
}

/**
 * Writes a model as ONNX (opset 17, IR version 8), weights inside; above 2 GB they stand beside it in `FILE.data`. The
 * batch may vary, and so may height and width where the network allows. A quantised model keeps its scales, as
 * QuantizeLinear and DequantizeLinear around its layers. Metadata: `residual`, the record as JSON
 * (preprocessing plan, classes, licence), and `classes`, one line each. The first output is the model's: logits, or
 * probabilities where it ends in a softmax.
 *
 * @throws FILE when it cannot be written; NUMERICS when a weight is not a finite number; ENGINE for a layer that ONNX
 * cannot say; ABORTED.
 * @example await exportOnnx(model, 'resnet50.onnx');
 */
export async function exportOnnx(model: Savable, path: string, options: ExportOptions = {}): Promise<Exported> {
  const filled = { ...model, weights: await weightsOf(model.weights) };
  checkWeights(filled);
  const onnx = onnxModel(filled, options);
  // The weights go first: a model that names weights which are not there is worse than none.
  for (const file of modelFiles(onnx, path).toReversed()) await writeFileAtomic(file.path, watch(file.pieces, options));
  const bytes = onnx.initializers.reduce((sum, { data }) => sum + data.byteLength, 0);
  return { tensors: onnx.initializers.length, bytes };
}

/** What was written. */
export interface Exported {
  readonly tensors: number;
  /** Of all values. */
  readonly bytes: number;
}

/** The model as it is exported. */
export function onnxModel(model: Filled, { fold = false }: ExportOptions = {}): OnnxModel {
  const pruned = prune(model.graph);
  const { graph, weights } = fold ? foldBatchNorm(pruned, model.weights) : { graph: pruned, weights: model.weights };
  if (fold) checkWeights({ graph, weights }); // Finite factors may have a product that is too large for float32.
  return {
    ...lower(graph, weights, model.record.quantisation),
    ...declaredShapes(graph),
    metadata: metadataOf(model),
  };
}

/** The texts that go with a model: its record, and its classes for whoever reads no JSON. */
export function metadataOf(model: Pick<Savable, 'graph' | 'record'>): Record<string, string> {
  const { config: _, graph: __, quantisation: ___, ...record } = recordOf(model);
  const classes = record.classes?.map(({ label }, i) => `${i} ${label}`).join('\n');
  return { [recordKey]: recordText(record), ...(classes !== undefined && { classes }) };
}

/**
 * The shapes of inputs and outputs: a size that may vary has a name, others their number. Height and width may vary
 * where the network also fits a larger picture; one that flattens its picture before a dense layer does not.
 */
function declaredShapes(graph: Graph): Pick<OnnxModel, 'inputs' | 'outputs'> {
  const built = inferShapes(graph);
  const larger = Object.fromEntries(graph.inputs.map(({ name, shape }) => [name, enlarged(shape)]));
  const other = attempt(() => inferShapes(graph, larger)) ?? built;
  const declared = (name: string, value: number) => ({
    name,
    shape: built[value].map((size, axis) => {
      if (axis === 0) return 'batch';
      if (size === other[value][axis]) return size;
      return graph.inputs.some((input) => input.value === value)
        ? ['', '', 'height', 'width'][axis]
        : `${name}_${['', 'channels', 'height', 'width'][axis]}`;
    }),
  });
  return {
    inputs: graph.inputs.map(({ name, value }) => declared(name, value)),
    outputs: graph.outputs.map(({ name, value }) => declared(name, value)),
  };
}

/** By multiples of what a ResNet divides its picture by. */
const enlarged = (shape: Shape): Shape =>
  shape.length === 4 ? [shape[0], shape[1], shape[2] + 64, shape[3] + 32] : shape;

function attempt<T>(work: () => T): T | undefined {
  try {
    return work();
  } catch (error) {
    if (error instanceof ResidualError && error.code === 'GRAPH') return undefined;
    throw error;
  }
}
