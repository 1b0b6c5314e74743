import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { build, type FamilyName, family } from '../models/resnet.js';
import type { Shape } from '../tensor.js';
import { kerasParameter, parameterShape, recogniseNames } from './names.js';
import { lookalikes, recogniseArchitecture } from './recognise.js';

type Spell = (layer: string, role: string) => string;

const kerasRole: Record<string, string> = {
  weight: 'kernel',
  bias: 'bias',
  running_mean: 'moving_mean',
  running_var: 'moving_variance',
};
const oldRole: Record<string, string> = {
  weight: 'W',
  bias: 'b',
  running_mean: 'running_mean',
  running_var: 'running_std',
};

/** A BatchNorm's weight and bias are Keras' gamma and beta. */
const role = (map: Record<string, string>, layer: string, kind: string): string =>
  /bn/.test(layer) && kind === 'weight' ? 'gamma' : /bn/.test(layer) && kind === 'bias' ? 'beta' : map[kind];

const spellings: Record<string, Spell> = {
  keras2: (layer, kind) => `${layer}/${layer}/${role(kerasRole, layer, kind)}:0`,
  keras3: (layer, kind) => `${layer}/${layer}/${role(kerasRole, layer, kind)}`,
  'the file of 2016': (layer, kind) => `${layer}/${layer}_${role(oldRole, layer, kind)}_1:0`,
  'before it': (layer, kind) => `${layer}/${layer}_${role(oldRole, layer, kind)}:0`,
};

/** What a file of this network would list: its own names and shapes. */
function fileOf(name: FamilyName, spell: (parameter: string) => string, classes = 7): Map<string, Shape> {
  return new Map(build(name, { classes }).parameters.map((p) => [spell(p.name), p.shape]));
}

function recognise(file: ReadonlyMap<string, Shape>) {
  const naming = recogniseNames([...file.keys()]);
  const architecture = naming && recogniseArchitecture(naming, (p) => file.get(naming.tensors.get(p) ?? ''));
  return { naming, architecture };
}

/**
 * Weights without parameters on the shortcut look like option A: a plain network is told by nobody. Nor is what is put
 * against aliasing, nor timm's second name for one network.
 */
const tellable = (Object.keys(family) as FamilyName[]).filter(
  (name) => !/^plain/.test(name) && family[name].antiAlias === 'none' && name !== 'ecaresnext50t_32x4d',
);

describe('the architecture is read off names and shapes', () => {
  test.each(tellable)('%s', (name) => {
    const spell = name.startsWith('keras')
      ? (p: string) => spellings.keras2(p.slice(0, p.lastIndexOf('.')), p.slice(p.lastIndexOf('.') + 1))
      : (p: string) => `state_dict.module.${p}`;
    const { naming, architecture } = recognise(fileOf(name, spell));
    expect(architecture?.name).toBe(name);
    expect(architecture?.config.classes).toBe(7);
    expect(naming?.prefix).toBe(name.startsWith('keras') ? '' : 'state_dict.module.');
    expect(naming?.foreign).toEqual([]);
  });

  test('a blur’s filters tell it, and a network that only anti-aliased members have is one of them', () => {
    const blurred = new Map([...fileOf('resnetblur18', (p) => p), ['layer2.0.aa.filt', [128, 1, 3, 3]]]);
    expect(recognise(blurred).architecture?.name).toBe('resnetblur18');
    expect(recognise(fileOf('seresnetaa50d', (p) => p)).architecture?.name).toBe('seresnetaa50d');
    const { architecture } = recognise(fileOf('resnetaa50d', (p) => p));
    expect(architecture?.name).toBe('resnet50d');
    expect(architecture && lookalikes(architecture.config)).toEqual(['resnetaa50d', 'resnetblur50d']);
  });

  test('without a classifier there are no classes', () => {
    const { architecture } = recognise(fileOf('resnet34', (p) => p, 0));
    expect(architecture).toMatchObject({ name: 'resnet34', config: { classes: 0 } });
  });

  test('a network that has no name is described', () => {
    const file = new Map([...fileOf('resnet18', (p) => p)].filter(([name]) => !name.startsWith('layer4.1.')));
    expect(recognise(file).architecture?.name).toBe('resnet of 2, 2, 2, 1 basic blocks');
  });

  test('any depths and widths come back', () => {
    const depths = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 4, maxLength: 4 });
    fc.assert(
      fc.property(
        depths,
        fc.constantFrom('resnet18', 'resnet50', 'resnext50_32x4d'),
        fc.integer({ min: 1, max: 30 }),
        (d, name, classes) => {
          const graph = build(name, { depths: d, classes });
          const { architecture } = recognise(new Map(graph.parameters.map((p) => [p.name, p.shape])));
          expect(architecture?.config).toEqual({ ...family[name], depths: d, classes });
        },
      ),
      { numRuns: 20 },
    );
  });
});

describe('Keras names', () => {
  test.each(Object.entries(spellings))('%s', (_name, spell) => {
    for (const layer of ['conv1', 'bn_conv1', 'res2a_branch2a', 'conv2_block1_0_conv', 'fc1000'])
      for (const kind of ['weight', 'bias']) expect(kerasParameter(spell(layer, kind))).toBe(`${layer}.${kind}`);
    for (const kind of ['running_mean', 'running_var'])
      expect(kerasParameter(spell('bn_conv1', kind))).toBe(`bn_conv1.${kind}`);
  });

  test('what is no weight is none', () => {
    for (const name of ['conv1', 'conv1/', 'conv1/conv1/momentum:0', '/kernel:0'])
      expect(kerasParameter(name)).toBeUndefined();
  });

  test('kernels [kh, kw, in, out] become [out, in, kh, kw]', () => {
    expect(parameterShape([7, 5, 3, 64], 'keras')).toEqual([64, 3, 7, 5]);
    expect(parameterShape([2048, 1000], 'keras')).toEqual([1000, 2048]);
    expect(parameterShape([64], 'keras')).toEqual([64]);
  });
});

test('num_batches_tracked is left aside, an optimiser is foreign', () => {
  const naming = recogniseNames([
    'model.layer1.0.conv1.weight',
    'model.bn1.num_batches_tracked',
    'optimizer.state.0.exp_avg',
  ]);
  expect(naming).toMatchObject({
    prefix: 'model.',
    ignored: ['model.bn1.num_batches_tracked'],
    foreign: ['optimizer.state.0.exp_avg'],
  });
  expect(recogniseNames(['encoder.weight'])).toBeUndefined();
});
