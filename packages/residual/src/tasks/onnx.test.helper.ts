// For tests of ONNX files: Python's side, and the comparison with it.
import { join } from 'node:path';
import { expect } from 'vitest';
import { difference } from '../engines/check.js';
import { readTensors } from '../testing.js';
import { load } from './load.js';

/** What PyTorch computed, and what both engines compute of the file, relative to the largest number. */
export const agreeWith =
  (folder: string) =>
  async (name: string, network = name): Promise<void> => {
    const { x, y } = await readTensors(join(folder, `${network}.safetensors`), ['x', 'y']);
    for (const engine of ['reference', 'onnx'] as const) {
      await using model = await load(join(folder, `${name}.onnx`), { engine });
      const [output] = model.graph.outputs;
      const received = (await model.run(x, [output.name]))[output.name];
      expect(difference(received, y), `${name}, ${engine}`).toBeLessThan(1e-5);
    }
  };

/** The beginning of the Python programs that write the files. */
export const common = `
import torch, torchvision, onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn
import torch.nn.functional as F
out = sys.argv[1]; sys.path.insert(0, sys.argv[2]); import safetensors_io
torch.manual_seed(3)
def statistics(m):
    for x in m.modules():
        if isinstance(x, nn.BatchNorm2d):
            nn.init.uniform_(x.weight, .5, 1.); nn.init.normal_(x.bias, std=.1)
            nn.init.normal_(x.running_mean, std=.1); nn.init.uniform_(x.running_var, .5, 1.5)
    return m.eval()
def keep(name, x, y):
    safetensors_io.save(f'{out}/{name}.safetensors', {'x': x.detach().numpy(), 'y': y.detach().numpy()})
`;
