import { expect, test } from 'vitest';
import { frozenUpTo } from '../graph/frozen.js';
import { isTrainable } from '../graph/graph.js';
import { summary } from '../graph/summary.js';
import { trainingStep } from '../graph/training-step.js';
import { build } from '../models/resnet.js';
import { sizeOf } from '../tensor.js';
import { presets } from './settings.js';
import { groupsOf, phaseAt, phasesOf, stagesOf } from './stages.js';

const graph = build('resnet20', { classes: 4 });

test('stages hold every parameter once, in the order of the network', () => {
  const stages = stagesOf(graph);
  expect(stages.map(({ name }) => name)).toEqual(['stem', 'layer1', 'layer2', 'layer3', 'head']);
  expect(stages.flatMap(({ parameters }) => parameters.map(({ name }) => name)).sort()).toEqual(
    graph.parameters.map(({ name }) => name).sort(),
  );
  expect(stages[4].parameters.map(({ name }) => name)).toEqual(['fc.weight', 'fc.bias']);
});

test('frozen up to a stage: its BatchNorms keep their statistics', () => {
  const frozen = frozenUpTo(graph, 'layer2');
  expect(frozen.has('layer2.0.bn1.running_mean')).toBe(true);
  expect(frozen.has('layer3.0.conv1.weight')).toBe(false);
  expect(() => frozenUpTo(graph, 'layr2')).toThrow(/did you mean "layer2"/);
  const step = trainingStep(graph, {
    shape: [2, 3, 32, 32],
    loss: 'crossEntropy',
    trains: ({ name }) => !frozen.has(name),
  });
  expect(step.measured.every(({ mean }) => mean.startsWith('layer3'))).toBe(true);
  const shown = summary(graph, { freeze: 'layer2' });
  expect(shown.rows.filter(({ frozen: stays }) => stays).at(-1)?.layer).toBe('layer2.2.bn2');
  expect(shown.totals.trainable).toBe(step.trained.reduce((sum, { shape }) => sum + sizeOf(shape), 0));
  expect(shown.toString()).toMatch(/layer2\.2\.bn2 \(BatchNormalization, frozen\)/);
  expect(step.trained.every(({ name }) => /^(layer3|fc)\b/.test(name))).toBe(true);
});

test('later stages learn faster, norms do not decay', () => {
  const trained = graph.parameters.filter(isTrainable);
  const groups = groupsOf(graph, trained, { ...presets, stageRate: 0.5 });
  expect(groups.flatMap(({ parameters }) => parameters).sort()).toEqual(trained.map(({ name }) => name).sort());
  const of = (name: string) => groups.find(({ parameters }) => parameters.includes(name));
  expect(of('fc.weight')).toMatchObject({ rate: 1, decay: 1 });
  expect(of('fc.bias')).toMatchObject({ rate: 1, decay: 0 });
  expect(of('layer2.0.bn1.weight')).toMatchObject({ rate: 0.25, decay: 0 });
  expect(of('conv1.weight')).toMatchObject({ rate: 0.0625, decay: 1 });
  expect(groupsOf(graph, trained, { ...presets, decayNorms: true })).toHaveLength(1);
});

test('unfreezing goes from the head to the picture', () => {
  const recipe = { ...presets, epochs: 10, freeze: 'avgpool', unfreeze: 2 };
  const phases = phasesOf(graph, recipe);
  expect(phases).toEqual([
    { epoch: 0, freeze: 'avgpool' },
    { epoch: 2, freeze: 'layer2' },
    { epoch: 4, freeze: 'layer1' },
    { epoch: 6, freeze: 'stem' },
    { epoch: 8, freeze: '' },
  ]);
  expect(phaseAt(phases, 5)).toEqual(phases[2]);
  expect(phasesOf(graph, { ...recipe, unfreeze: 0 })).toEqual([{ epoch: 0, freeze: 'avgpool' }]);
});
