import { ResidualError } from '../errors.js';
import { onnxGraph } from '../models/onnx-graph.js';
import type { OnnxNetwork } from '../models/onnx-network.js';
import { formatShape } from '../tensor.js';
import type { Architecture } from '../weights/recognise.js';
import type { Network } from './network.js';

/**
 * The network of an ONNX model, to be filled from it. Its graph says all but how its pictures were prepared, which names
 * like torchvision's tell: those of `architecture`.
 * @param size height and width, or both, where the file leaves them open.
 * @throws GRAPH when it cannot be expressed, or takes other than one picture.
 */
export function onnxNetwork(
  model: OnnxNetwork,
  naming: Network['naming'],
  architecture: Architecture | undefined,
  size: number | readonly [height: number, width: number] | undefined,
): Network {
  // Where the file leaves it open, a network for CIFAR's pictures is built for their size.
  const { stem, size: customary } = architecture?.config ?? {};
  const side = size ?? (stem === 'cifar' ? customary : undefined);
  const { graph, ...own } = onnxGraph(model, typeof side === 'number' ? [side, side] : side);
  const [first, ...others] = graph.inputs;
  if (first === undefined || others.length > 0 || first.shape.length !== 4) {
    const inputs = graph.inputs.map(({ name, shape }) => `"${name}" ${formatShape(shape, true)}`).join(' and ');
    throw new ResidualError('GRAPH', `its network takes ${inputs || 'nothing'}; one input [N, C, H, W] is due`);
  }
  return {
    graph,
    naming: { ...naming, ...own, prefix: '', foreign: [] },
    architecture: architecture?.name ?? graph.name,
    producer: model.producer,
    ...(architecture ? { config: architecture.config } : {}),
  };
}
