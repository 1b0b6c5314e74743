import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { build, type FamilyName, family, resnet } from '../models/resnet.js';
import type { Shape } from '../tensor.js';
import { type Dialect, type DialectName, dialectNames, dialects } from './dialects.js';
import { recogniseNames } from './names.js';
import { recogniseArchitecture } from './recognise.js';
import { translation } from './rules.js';

const members = Object.keys(family) as FamilyName[];

/** A member's parameters in a dialect; undefined when the dialect has no name for one of them. */
function spelled(dialect: DialectName, member: FamilyName, classes = 1000): Map<string, Shape> | undefined {
  const config = { ...family[member], classes };
  const row: Dialect = dialects[dialect];
  const file = new Map<string, Shape>();
  for (const { name, shape } of resnet(config).parameters) {
    const theirs = row.spell(name, config);
    if (theirs === undefined) return undefined;
    file.set(theirs, shape);
  }
  return file;
}

/** MoCo's and DINO's backbones have no classifier. */
const classesOf = (dialect: DialectName) => (dialect === 'moco' || dialect === 'dino' ? 0 : 1000);

const holds = (dialect: DialectName) => members.filter((member) => spelled(dialect, member, classesOf(dialect)));

describe('each dialect spells and reads every parameter of every member it can hold', () => {
  test.each(dialectNames)('%s', (dialect) => {
    const held = holds(dialect);
    for (const member of held) {
      const config = { ...family[member], classes: classesOf(dialect) };
      const { parameters } = resnet(config);
      const file = [...(spelled(dialect, member, config.classes) ?? new Map()).keys()];
      const naming = recogniseNames(file);
      expect(new Set(file).size, member).toBe(parameters.length);
      expect([...(naming?.tensors ?? [])], member).toEqual(parameters.map(({ name }, i) => [name, file[i]]));
      expect(naming?.foreign).toEqual([]);
    }
  });

  test('which members that are', () => {
    const torchvision = members.filter((name) => family[name].spelling === 'torchvision');
    const plain = torchvision.filter(
      (name) =>
        family[name].attention === 'none' && !family[name].stem.startsWith('deep') && family[name].stemPool !== 'conv',
    );
    for (const dialect of ['torchvision', 'moco', 'dino', 'mmpretrain'] as const) expect(holds(dialect)).toEqual(plain);
    expect(holds('timm')).toEqual(torchvision);
    // A shortcut's third layer has no name there.
    for (const dialect of ['huggingface', 'detectron2', 'caffe'] as const)
      expect(holds(dialect)).toEqual(plain.filter((name) => family[name].projection !== 'averaged'));
    expect(holds('keras')).toEqual(members.filter((name) => family[name].spelling === 'keras'));
    expect(holds('keras2015')).toEqual(['keras2015-resnet50']);
  });
});

describe('a file in a dialect is known by its names', () => {
  /** Where torchvision's ResNet-50 is no other network; elsewhere the dialect's own custom is said. */
  test.each([
    ['torchvision', 'resnet50', 'it has layer1.0.conv1.weight'],
    ['timm', 'resnet50d', 'it has layer1.0.conv1.weight and conv1.0.weight'],
    ['timm', 'seresnet18', 'it has layer1.0.conv1.weight and layer1.0.se.fc1.weight'],
    ['huggingface', 'resnet50', 'it has embedder.embedder.convolution.weight'],
    ['mmpretrain', 'resnet34', 'it has head.fc.weight and backbone.layer1.0.conv1.weight'],
    ['moco', 'resnet50', 'it has the query encoder of MoCo below "module.encoder_q."'],
    ['dino', 'resnet50', 'it has the teacher of DINO below "teacher.backbone."'],
    ['detectron2', 'resnet18', 'it has res2.0.conv1.norm.weight below "backbone.bottom_up."'],
    ['keras', 'keras-resnet101v2', 'it has the layer conv2_block1_1_conv'],
    ['keras2015', 'keras2015-resnet50', 'it has the layer res2a_branch2a'],
  ] as const)('%s: %s, because %s', (dialect, member, reason) => {
    const file = spelled(dialect, member, classesOf(dialect)) as Map<string, Shape>;
    const naming = recogniseNames([...file.keys()]);
    expect(naming).toMatchObject({ dialect, reason });
    const architecture = naming && recogniseArchitecture(naming, (p) => file.get(naming.tensors.get(p) ?? ''));
    expect(architecture?.name).toBe(member);
  });

  test.each(['detectron2', 'caffe'] as const)('%s strides as He does', (dialect) => {
    const file = spelled(dialect, 'resnet101') as Map<string, Shape>;
    const naming = recogniseNames([...file.keys()]);
    const architecture = naming && recogniseArchitecture(naming, (p) => file.get(naming.tensors.get(p) ?? ''));
    expect(architecture?.config).toEqual({ ...family.resnet101, ...dialects[dialect].custom });
    expect(() => resnet(architecture?.config ?? family.resnet18)).not.toThrow();
  });

  test('real names, one of each kind', () => {
    const cases: [DialectName, string, string | undefined][] = [
      ['huggingface', 'resnet.encoder.stages.3.layers.2.layer.1.normalization.running_var', 'layer4.2.bn2.running_var'],
      ['huggingface', 'encoder.stages.0.layers.0.shortcut.convolution.weight', 'layer1.0.downsample.0.weight'],
      ['huggingface', 'classifier.1.bias', 'fc.bias'],
      ['huggingface', 'resnet.embedder.embedder.normalization.num_batches_tracked', 'ignored'],
      ['mmpretrain', 'backbone.layer3.5.bn1.running_mean', 'layer3.5.bn1.running_mean'],
      ['mmpretrain', 'neck.gap.weight', undefined],
      ['detectron2', 'stem.conv1.norm.weight', 'bn1.weight'],
      ['detectron2', 'res5.0.shortcut.norm.bias', 'layer4.0.downsample.1.bias'],
      ['detectron2', 'res4.10.conv2.weight', 'layer3.10.conv2.weight'],
      ['caffe', 'res3b7_branch2c.weight', 'layer2.7.conv3.weight'],
      ['caffe', 'res3d_branch2a.weight', 'layer2.3.conv1.weight'],
      ['caffe', 'bn4b22_branch2b.running_mean', 'layer3.22.bn2.running_mean'],
      ['caffe', 'scale4b22_branch2b.weight', 'layer3.22.bn2.weight'],
      ['caffe', 'scale2a_branch1.bias', 'layer1.0.downsample.1.bias'],
      ['caffe', 'bn_conv1.running_var', 'bn1.running_var'],
      ['timm', 'layer2.0.se.fc2.bias', 'layer2.0.se.fc2.bias'],
      ['timm', 'layer2.0.aa.filt', 'ignored'],
      ['moco', 'fc.0.weight', undefined],
      ['torchvision', 'linear.weight', 'fc.weight'],
      ['torchvision', 'my_own.head.weight', 'my_own.head.weight'],
    ];
    for (const [dialect, name, parameter] of cases) expect(dialects[dialect].parameter(name), name).toBe(parameter);
    const { spell } = dialects.caffe;
    expect(spell('layer2.3.conv1.weight', family.resnet50)).toBe('res3d_branch2a.weight');
    expect(spell('layer2.3.conv1.weight', family.resnet101)).toBe('res3b3_branch2a.weight');
    expect(spell('layer4.2.conv1.weight', family.resnet101)).toBe('res5c_branch2a.weight');
  });

  test('heads of pretraining are foreign, a momentum encoder too', () => {
    const file = [...(spelled('moco', 'resnet18', 0) as Map<string, Shape>).keys()];
    const heads = ['module.encoder_q.fc.0.weight', 'module.encoder_k.conv1.weight', 'module.queue'];
    expect(recogniseNames([...heads, ...file.map((name) => name)])?.foreign).toEqual(heads);
  });

  test('a student beside its teacher is foreign', () => {
    const teacher = [...(spelled('dino', 'resnet18', 0) as Map<string, Shape>).keys()];
    const student = teacher.map((name) => name.replace('teacher.', 'student.module.'));
    const naming = recogniseNames([...student, ...teacher]);
    expect(naming).toMatchObject({ dialect: 'dino', prefix: 'teacher.backbone.', foreign: student });
  });
});

describe('rules', () => {
  test('a name that no rule knows, a number below zero, a block beyond the alphabet', () => {
    const { read, write } = translation([['layer{s}.{b}.{role}', 'stage{s-1}{b:letter}.{role}']]);
    expect(read('stage0c.weight')).toBe('layer1.2.weight');
    expect(read('stage0c.wait')).toBeUndefined();
    expect(read('stage007c.weight')).toBeUndefined();
    expect(write('layer0.0.weight')).toBeUndefined();
    expect(write('layer1.30.weight')).toBeUndefined();
    expect(write('layer1.30.weight', () => true)).toBe('stage0b30.weight');
  });

  test('no name makes a reader slow or throw', () => {
    const pieces = [
      'layer',
      'res',
      'stages.',
      '.',
      '1',
      '2a',
      '_branch',
      'conv',
      'norm.',
      'weight',
      '/',
      ':0',
      'b22',
      '0',
    ];
    const name = fc.array(fc.oneof(fc.constantFrom(...pieces), fc.string({ maxLength: 3 })), { maxLength: 12 });
    fc.assert(
      fc.property(name, (parts) => {
        for (const dialect of dialectNames) {
          const row: Dialect = dialects[dialect];
          const found = row.parameter(parts.join(''));
          expect(found === undefined || typeof found === 'string').toBe(true);
          row.spell(parts.join(''), family.resnet50);
        }
        recogniseNames([parts.join('')]);
      }),
      { numRuns: 300 },
    );
  });

  test('a graph’s own names are untouched by a dialect’s', () => {
    expect(build('resnet18').parameters.map(({ name }) => dialects.torchvision.parameter(name))).toEqual(
      build('resnet18').parameters.map(({ name }) => name),
    );
  });
});
