import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Plan } from '../image/plan.js';
import { build } from '../models/resnet.js';
import { python, shared, temporaryFolder } from '../testing.js';
import { type ComparedSide, compare } from './compare.js';
import { load } from './load.js';
import type { Model } from './model.js';

// PyTorch and Pillow compute with one thing done otherwise (compare.plants.py), on a real photograph and with real
// ImageNet weights or random ones with odd statistics; `compare` must name that thing and no other.

describe.skipIf(!shared)('planted differences', { timeout: 120_000 }, () => {
  const folder = temporaryFolder();
  const samples = join(shared ?? '', 'data/samples');
  const elephant = join(samples, 'elephant.jpg');
  let trained: Model;
  let large: Model;
  let random: Model;
  beforeAll(async () => {
    execFileSync(python, [join(shared as string, 'make-weights'), folder.path], { stdio: 'ignore' });
    const program = fileURLToPath(new URL('../../src/tasks/compare.plants.py', import.meta.url));
    execFileSync(python, [program, shared as string, folder.path, folder.path], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    trained = await load(join(folder.path, 'resnet18-pqf.pth'));
    large = await load(join(folder.path, 'resnet50-pqf.pth'));
    random = await load(join(folder.path, 'random18.pth'));
  }, 300_000);
  afterAll(async () => {
    await Promise.all([trained?.dispose(), large?.dispose(), random?.dispose()]);
    folder.remove();
  });

  const recorded = (name: string): ComparedSide => ({ recorded: join(folder.path, `${name}.safetensors`) });
  const whats = ({ causes }: { causes: readonly { what: string }[] }) => causes.map(({ what }) => what);

  test.each([
    ['bgr', ['RGB against BGR']],
    ['bgr-before-means', ['RGB against BGR']],
    ['range-255', ['values 0–1 against 0–255']],
    ['no-mean', ['mean and deviation applied against not applied']],
    ['no-deviation', ['deviation [0.229, 0.224, 0.225] against [1, 1, 1]']],
    ['half-mean', ['mean [0.485, 0.456, 0.406] against [0.5, 0.5, 0.5]']],
    ['mode-tf', ['preprocessing mode torch against tf']],
    ['mode-caffe', ['preprocessing mode torch against caffe']],
    ['nearest', ['bilinear against nearest']],
    ['bicubic', ['bilinear against bicubic']],
    ['no-antialias', ['resize with antialias against without antialias']],
    ['no-antialias-bytes', ['resize with antialias against without antialias']],
    ['antialias-floats', ['resize with antialias against in floats']],
    ['aligned-corners', ['resize with antialias against without antialias and with aligned corners']],
    ['squash', ['short side 256 and centre crop against squashed to 224×224']],
    ['resize-232', ['resize 256 (crop_pct 0.875) against 232 (crop_pct 0.966)']],
    ['crop-pct-095', ['resize 256 (crop_pct 0.875) against 235 (crop_pct 0.953)']],
    ['crop-first', ['short side 256 and centre crop against centre crop before the resize']],
    ['grey', ['colours kept against turned to grey']],
    ['height-width', ['height before width against width before height']],
    ['nhwc', ['channels first against an NHWC buffer read as NCHW']],
    [
      'keras',
      [
        'short side 256 and centre crop against squashed to 224×224',
        'bilinear against nearest',
        'preprocessing mode torch against caffe',
      ],
    ],
  ])('picture: %s', async (name, expected) => {
    const found = await compare({ model: trained }, recorded(`picture-${name}`), elephant);
    expect(found.stations[found.parts as number].name).toBe('input');
    expect(whats(found)).toEqual(expected);
  });

  test.each([
    ['exif', 'formats/exif-orientation-6.jpg', 'EXIF turn obeyed against ignored'],
    ['alpha', 'formats/alpha.png', 'transparency laid over white against dropped'],
  ])('picture: %s', async (name, file, expected) => {
    const found = await compare({ model: trained }, recorded(`picture-${name}`), join(samples, file));
    expect(whats(found)).toEqual([expected]);
    const turned = await compare(recorded(`picture-${name}`), { model: trained }, join(samples, file));
    expect(whats(turned)).toEqual([expected.replace(/(\S+( over white)?) against (\S+)$/, '$3 against $1')]);
  });

  test('picture: the offset of a crop rounded down', async () => {
    const plan: Plan = trained.record.plan.map((step) =>
      step.step === 'resizeShortSide' ? { ...step, size: 259 } : step,
    );
    const found = await compare({ model: trained, plan }, recorded('picture-crop-down'), elephant);
    expect(whats(found)).toEqual(['crop offset rounded half to even against down']);
  });

  test.each([
    ['net-epsilon', ["BatchNorm's epsilon 1e-5 against 1e-3"], 'stem'],
    ['net-stride', ['stride on the 3×3 against on the first 1×1'], 'layer2'],
    [
      'net-keras-topology',
      ["BatchNorm's epsilon 1e-5 against 1e-3", 'stride on the 3×3 against on the first 1×1'],
      'stem',
    ],
    ['net-pool-unpadded', ["the stem's max pool with −∞ around it against nothing around it"], 'stem'],
    [
      'net-pool-ceil',
      ["the stem's max pool with −∞ around it against −∞ at its bottom and right (Caffe, ceil_mode)"],
      'stem',
    ],
    [
      'net-same',
      [
        'padding where a window strides, alike on all sides against TensorFlow\'s "same" (more at the bottom and right)',
      ],
      'stem',
    ],
    ['net-relu', ['ReLU after the residual sum applied against missing'], 'layer1'],
    ['net-mean-shortcut', ['shortcut projection of every second pixel against of 2×2 means (ResNet-D)'], 'layer2'],
    ['net-float16', ['weights in float32 against rounded to float16'], 'stem'],
    ['net-bfloat16', ['weights in float32 against rounded to bfloat16'], 'stem'],
    ['net-kernels-turned', ['kernels as they are against turned by 180° (Theano)'], 'stem'],
    ['net-kernels-swapped', ["kernels as they are against with height and width in each other's place"], 'stem'],
    ['net-softmax', ['logits against probabilities'], 'logits'],
    ['net-softmax-twice', ['logits against softmax applied twice'], 'logits'],
    [
      'net-class-order',
      ['the classes are in another order, sorted as text (10 before 2): class 2 of b is class 10 of a'],
      'logits',
    ],
    ['net-probabilities-twice', ['softmax once against twice'], 'probabilities'],
    ['net-probabilities-sigmoid', ['probabilities by softmax against sigmoid'], 'probabilities'],
    ['net-probabilities-bias', ['biases of the classifier added against dropped'], 'probabilities'],
    ['net-no-bias', ['biases of the classifier added against dropped'], 'logits'],
  ])('network: %s', async (name, expected, at) => {
    const model = name === 'net-stride' || name === 'net-keras-topology' ? large : trained;
    const found = await compare({ model }, recorded(name));
    expect(found.stations[found.parts as number].name).toBe(at);
    expect(whats(found)).toEqual(expected);
  });

  test.each([
    ['net-random-epsilon', "BatchNorm's epsilon 1e-5 against 1e-3"],
    ['net-variance', 'running variance as it is against taken for the deviation (running_std)'],
    ['net-gamma-beta', "BatchNorm's gamma and beta each in its place against in the place of the other"],
    ['net-training', "BatchNorm by its running statistics against by the batch's own (training mode)"],
  ])('network with odd statistics: %s', async (name, expected) => {
    expect(whats(await compare({ model: random }, recorded(name)))).toEqual([expected]);
  });

  test.each(['picture-agrees', 'net-agrees', 'net-nhwc', 'net-probabilities'])('nothing planted: %s', async (name) => {
    const found = await compare({ model: trained }, recorded(name), name.startsWith('picture') ? elephant : undefined);
    expect(found).toMatchObject({ causes: [] });
    expect(found.parts).toBeUndefined();
    expect(found.stations.length).toBeGreaterThan(0);
  });

  test.each([
    ['picture-unknown-gamma', 'input'],
    ['picture-unknown-brighter', 'input'],
    ['picture-unknown-darker', 'input'],
    ['picture-unknown-mirror', 'input'],
    ['picture-unknown-noise', 'input'],
    ['picture-unknown-shift', 'input'],
    ['unknown-probabilities', 'probabilities'],
    ['unknown-leaky', 'layer1'],
    ['unknown-layer', 'layer3'],
    ['unknown-channel', 'layer3'],
    ['unknown-silu', 'stem'],
  ])('what is in no table is not guessed: %s', async (name, at) => {
    const found = await compare({ model: trained }, recorded(name), name.startsWith('picture') ? elephant : undefined);
    expect(found.stations[found.parts as number].name).toBe(at);
    expect(found.causes).toEqual([]);
  });

  test('weights put into the network of another system, layer by layer', async () => {
    const architecture = build('resnet50', { strideOn: '1x1', epsilon: 1e-3, stemPool: 'unpadded', size: 96 });
    await using other = await load(join(folder.path, 'resnet50-pqf.pth'), { architecture });
    await using model = await load(join(folder.path, 'resnet50-pqf.pth'), { size: 96 });
    const found = await compare({ model }, { model: other, plan: model.record.plan }, elephant);
    expect(found.stations[found.parts as number].name).toBe('bn1');
    expect(found.causes.map(({ id, at }) => [id, at])).toEqual([
      ['epsilon', 'bn1'],
      ['stem-pool', 'stem'],
      ['stride', 'layer2.0.conv1'],
    ]);
    expect(found.causes.at(-1)?.evidence).toContain('no station is beyond 1e-4 any more');
  });
});
