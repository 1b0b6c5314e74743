import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { trainingStep } from '../graph/training-step.js';
import { build, type FamilyName } from '../models/resnet.js';
import { type Tensor, tensor, type Weights } from '../tensor.js';
import { oracle, readTensors, runPython, scratch } from '../testing.js';
import type { ProgramOptions, TrainingBackend } from './training.js';

/** What PyTorch is asked to compute: `steps` steps of SGD with momentum on one batch. */
export interface PyTorchRun {
  readonly size: number;
  readonly batch: number;
  readonly steps: number;
  /** The learning rate. */
  readonly lr: number;
}

/** How far a backend may be from PyTorch, all as shares of what PyTorch has. */
export interface Bounds {
  /** The loss of each step. */
  readonly losses: number;
  /** The norm of each parameter's first gradient, and the difference from five of them in full. */
  readonly gradients: number;
  /** The weights after the last step, as a share of how far they went. */
  readonly weights: number;
}

interface Training {
  readonly momentum: number;
  readonly weight_decay: number;
  readonly labels: readonly number[];
  readonly losses: readonly number[];
  readonly gradient_norms: Readonly<Record<string, number>>;
}

const classes = 10;

/**
 * The oracle's training once more, in float64: what PyTorch's float32 adds to it is up to 1e-1 of a gradient where a
 * BatchNorm measures few numbers. Takes the place of the oracle's losses, gradients and weights.
 */
const inDouble = `
import torch, torchvision
folder, arch, steps, lr = sys.argv[1:5]
said = json.load(open(folder + '/train.json'))
state = torch.load(folder + '/' + arch + '.pth', map_location='cpu')
model = getattr(torchvision.models, arch)(num_classes=state['fc.bias'].numel())
model.load_state_dict(state)
model.double().train()
optimiser = torch.optim.SGD(model.parameters(), lr=float(lr), momentum=said['momentum'], weight_decay=said['weight_decay'])
x, labels = torch.from_numpy(np.load(folder + '/input.npy')).double(), torch.tensor(said['labels'])
said['losses'], said['gradient_norms'] = [], {}
for step in range(int(steps)):
    optimiser.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(x), labels)
    loss.backward()
    said['losses'].append(loss.item())
    if step == 0:
        full = {}
        for name, value in model.named_parameters():
            said['gradient_norms'][name] = value.grad.norm().item()
            if name in sys.argv[5:]: full['grad.' + name] = value.grad.float().clone()
        torch.save(full, folder + '/gradients.pth')
    optimiser.step()
torch.save(model.float().state_dict(), folder + '/after.pth')
json.dump(said, open(folder + '/train.json', 'w'))
`;

const inFull = ['conv1.weight', 'bn1.weight', 'layer1.0.conv1.weight', 'layer4.1.bn1.bias', 'fc.weight'];
const made = new Map<string, string>();

/** The folder with PyTorch's training; engines share it. */
function trainedByPyTorch(name: FamilyName, { size, batch, steps, lr }: PyTorchRun): string {
  const key = [name, size, batch, steps, lr].join();
  const known = made.get(key);
  if (known !== undefined) return known;
  const folder = scratch();
  const numbers = Object.entries({ size, batch, classes, steps: 1 }).flatMap(([of, value]) => [`--${of}`, `${value}`]);
  oracle('torchvision_oracle.py', name, folder, '--train', ...numbers);
  runPython(inDouble, folder, name, `${steps}`, `${lr}`, ...inFull);
  made.set(key, folder);
  return folder;
}

/** Runs the same training in PyTorch and on a backend, from the same weights, and compares all there is. */
export async function expectParity(
  backend: TrainingBackend,
  name: FamilyName,
  run: PyTorchRun,
  bounds: Bounds,
  options: Omit<ProgramOptions, 'groups'> = {},
): Promise<void> {
  const { size, batch, steps, lr } = run;
  const folder = trainedByPyTorch(name, run);
  const said = JSON.parse(readFileSync(join(folder, 'train.json'), 'utf8')) as Training;
  const { input } = await readTensors(join(folder, 'expected.safetensors'), ['input']);

  const network = build(name, { classes, size });
  const names = network.parameters.map((parameter) => parameter.name);
  const weights = new Map(Object.entries(await readTensors(join(folder, `${name}.safetensors`), names)));
  const after = new Map(Object.entries(await readTensors(join(folder, 'after.pth'), names)));
  const gradients = await readTensors(
    join(folder, 'gradients.pth'),
    inFull.map((one) => `grad.${one}`),
  );

  const step = trainingStep(network, { shape: input.shape, loss: 'crossEntropy', trains: () => true });
  const trained = step.trained.map((parameter) => parameter.name);
  const program = await backend.train(step, weights, { ...options, groups: [trained] });
  const targets = new Float32Array(batch * classes);
  said.labels.forEach((label, n) => {
    targets[n * classes + label] = 1;
  });
  const inputs = { [network.inputs[0].name]: input, targets: tensor(targets, [batch, classes]) };
  const momentum = program.array();
  const statistics = new Map(
    step.measured.flatMap(({ mean, variance }) =>
      [mean, variance].map((one) => [one, Float64Array.from((weights.get(one) as Tensor).data)] as const),
    ),
  );

  for (let i = 0; i < steps; i++) {
    const outputs = await program.run(inputs);
    expect(Math.abs(outputs.loss.data[0] / said.losses[i] - 1), `loss of step ${i}`).toBeLessThan(bounds.losses);
    if (i === 0)
      for (const one of trained) {
        const own = program.read(program.gradients, one);
        const share = distance(own.data, new Float32Array(own.data.length)) / said.gradient_norms[one];
        expect(Math.abs(share - 1), `norm of the gradient of ${one}`).toBeLessThan(bounds.gradients);
        if (inFull.includes(one)) {
          const expected = gradients[`grad.${one}`].data;
          const share = distance(own.data, expected) / distance(expected, new Float32Array(expected.length));
          expect(share, `gradient of ${one}`).toBeLessThan(bounds.gradients);
        }
      }
    for (const { mean, variance, count } of step.measured) {
      follow(statistics.get(mean) as Float64Array, outputs[mean], 1);
      follow(statistics.get(variance) as Float64Array, outputs[variance], count / (count - 1));
    }
    const { parameters, gradients: now } = program;
    program.combine(momentum, [
      [said.momentum, momentum],
      [1, now],
      [said.weight_decay, parameters],
    ]);
    program.combine(parameters, [
      [1, parameters],
      [-lr, momentum],
    ]);
  }

  const now = (one: string) => statistics.get(one) ?? program.read(program.parameters, one).data;
  const sum = (of: (one: string) => number) => Math.sqrt(names.reduce((total, one) => total + of(one) ** 2, 0));
  const dataOf = (from: Weights, one: string) => (from.get(one) as Tensor).data;
  const went = sum((one) => distance(dataOf(after, one), dataOf(weights, one)));
  const off = sum((one) => distance(now(one), dataOf(after, one)));
  expect(off / went, 'weights and statistics after the last step').toBeLessThan(bounds.weights);
  await program.dispose();
}

/** PyTorch moves running statistics by a tenth towards the batch's. */
function follow(running: Float64Array, { data }: Tensor, factor: number): void {
  for (let i = 0; i < running.length; i++) running[i] += 0.1 * (factor * data[i] - running[i]);
}

type Numbers = Float64Array | Float32Array;

function distance(a: Numbers, b: Numbers): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return Math.sqrt(sum);
}
