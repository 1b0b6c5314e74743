// What the engine was built to reach, beside what was measured.
import { ratio } from './tables.js';

const atLeast = (bound) => ({ sign: '≥', bound, isReached: (value) => value >= bound });
const atMost = (bound) => ({ sign: '≤', bound, isReached: (value) => value <= bound });

/** Rows of the table: what, the targets, the figures; a figure that misses its target says so. */
export function targets({ engines, pictures, 'start-to-exit': start, memory, neighbour, training }) {
  const row = (network, name, batch) =>
    engines?.rows.find((one) => one.network === network && one.name === name && one.batch === batch);
  const speed =
    (network, own, ...theirs) =>
    (batch) => {
      const times = theirs.map((name) => row(network, name, batch)?.median).filter((time) => time !== undefined);
      return Math.min(...times) / row(network, own, batch)?.median;
    };
  const over = (name) => (batch) => row('resnet50', name, batch)?.overConvolutions;
  const rows = [];
  const both = (what, value, one, eight) =>
    rows.push(line(`${what}, batch 1 and 8`, [one, eight], [value(1), value(8)]));

  both('f32, time over the convolutions alone', over('onednn f32'), atMost(1.03), atMost(1.03));
  const overOrt = speed('resnet50', 'onednn f32', 'ort f32');
  both('f32 speed over onnxruntime-node', overOrt, atLeast(1.06), atLeast(1.18));
  both(
    'the same with oneDNN 3, which has no Winograd',
    speed('resnet50', 'onednn3 f32', 'ort f32'),
    atLeast(0.97),
    atLeast(1.05),
  );
  for (const network of ['resnet18', 'resnet34'])
    both(`${network}, the same`, speed(network, 'onednn f32', 'ort f32'), atLeast(1.35), atLeast(1.6));
  both('f32 speed over PyTorch, eager', speed('resnet50', 'onednn f32', 'torch eager'), atLeast(1.75), atLeast(1.6));
  both('f32 speed over PyTorch, optimised', speed('resnet50', 'onednn f32', 'torch jit'), atLeast(1.4), atLeast(1.35));
  both('bf16, time over the convolutions alone', over('onednn bf16'), atMost(1.06), atMost(1.03));
  both('bf16 speed over onnxruntime-node f32', speed('resnet50', 'onednn bf16', 'ort f32'), atLeast(4.4), atLeast(5.5));
  both('bf16 speed over PyTorch bf16', speed('resnet50', 'onednn bf16', 'torch bf16'), atLeast(2.7), atLeast(2.1));
  both('int8, time over the convolutions alone', over('onednn int8'), atMost(1.08), atMost(1.02));
  both('int8 speed over onnxruntime-node f32', speed('resnet50', 'onednn int8', 'ort f32'), atLeast(7.3), atLeast(9));
  both(
    'int8 speed over onnxruntime-node int8',
    speed('resnet50', 'onednn int8', 'ort int8'),
    atLeast(2.6),
    atLeast(2.9),
  );
  for (const network of ['resnet101', 'resnet152', 'wide_resnet50_2', 'resnext50_32x4d'])
    both(
      `${network}, f32 speed over onnxruntime-node`,
      speed(network, 'onednn f32', 'ort f32'),
      atLeast(1),
      atLeast(1),
    );

  const rate = (name) => pictures?.rows.find((one) => one.name === name)?.perSecond;
  const theirs = Math.max(
    ...['transformers f32', 'transformers f32, 8 together'].map((name) => rate(name) ?? Number.NaN),
  );
  rows.push(line('JPEG files to labels over transformers.js, f32', [atLeast(2)], [rate('onednn f32') / theirs]));
  rows.push(
    line('JPEG files to labels over transformers.js f32, our int8', [atLeast(6)], [rate('onednn int8') / theirs]),
  );
  const seconds = (name) => start?.rows.find((one) => one.name === name)?.seconds;
  rows.push(line('one photograph, start to exit, f32 `.pth`, seconds', [atMost(0.75)], [seconds('residual')]));
  rows.push(line('one photograph, start to exit, saved int8 model, seconds', [atMost(0.45)], [seconds('quantised')]));
  const resident = (name) => memory?.rows.find((row) => row.name === name)?.resident;
  rows.push(line('resident memory in f32, MB, with Winograd', [atMost(330)], [resident('onednn f32')]));
  rows.push(line('the same without (`deterministic`)', [atMost(230)], [resident('onednn f32 deterministic')]));
  const slower = (name, batch) => neighbour?.rows.find((one) => one.name === name && one.batch === batch)?.slower;
  both(
    'slow-down beside a busy neighbour, over that of onnxruntime-node',
    (batch) => slower('onednn f32', batch) / slower('ort f32', batch),
    atMost(1),
    atMost(1),
  );
  rows.push(...trainingTargets(training));
  return rows;
}

/** Of a training step, its update included. */
function trainingTargets(training) {
  const row = (network, batch, name) =>
    training?.rows.find((one) => one.network === network && one.batch === batch && one.name === name);
  const best = ['torch channels last', 'torch contiguous'];
  const theirs = (network, batch, names, what) =>
    Math.min(...names.map((name) => row(network, batch, name)?.[what] ?? Number.POSITIVE_INFINITY));
  const speed = (network, batch, name, names) =>
    theirs(network, batch, names, 'median') / row(network, batch, name)?.median;
  const over = (name) => row('resnet50', 32, name)?.overConvolutions;
  const memory = (name, names) => row('resnet50', 32, name)?.peak / theirs('resnet50', 32, names, 'peak');
  const pair = (what, values, ...wanted) => line(`training, ${what}, f32 and bf16`, wanted, values);
  return [
    pair(
      'ResNet-50, batch 32, over the convolutions alone',
      [over('onednn f32'), over('onednn bf16')],
      atMost(1.18),
      atMost(1.35),
    ),
    pair(
      'the same, speed over PyTorch',
      [speed('resnet50', 32, 'onednn f32', best), speed('resnet50', 32, 'onednn bf16', ['torch bf16'])],
      atLeast(1.5),
      atLeast(1.7),
    ),
    pair(
      'the same, most memory over PyTorch’s',
      [memory('onednn f32', best), memory('onednn bf16', ['torch bf16'])],
      atMost(0.95),
      atMost(0.95),
    ),
    pair(
      'ResNet-20, batch 128, speed over PyTorch',
      [speed('resnet20', 128, 'onednn f32', best), speed('resnet20', 128, 'onednn bf16', ['torch bf16'])],
      atLeast(1.5),
      atLeast(1.9),
    ),
    line(
      'training by `onnx`, speed over PyTorch: ResNet-50, batch 16, and ResNet-20, batch 128',
      [atLeast(0.68), atLeast(0.42)],
      [speed('resnet50', 16, 'onnx f32', best), speed('resnet20', 128, 'onnx f32', best)],
    ),
  ];
}

const missing = 'not measured';

function line(what, wanted, values) {
  const said = wanted.map(({ sign, bound }) => `${sign} ${bound}`);
  const figures = values.map((value, i) => {
    if (value === undefined || Number.isNaN(value) || !Number.isFinite(value)) return missing;
    return wanted[i].isReached(value) ? ratio(value) : `**${ratio(value)}**, missed`;
  });
  const isMissing = figures.every((figure) => figure === missing);
  return [what, [...new Set(said)].join(', '), isMissing ? missing : figures.join('; ')];
}
