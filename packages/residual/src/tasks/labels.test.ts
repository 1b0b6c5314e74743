import { expect, test } from 'vitest';
import { input, network, relu } from '../graph/build.js';
import { type ClassLabel, cifar10Classes, imagenetClasses, parseClasses } from '../models/classes.js';
import { resnet18 } from '../models/resnet.js';
import { classesOf, settleLabels } from './labels.js';

const known = await imagenetClasses();
const graph = resnet18();
const settle = (labels: readonly ClassLabel[], of: readonly ClassLabel[] | undefined = known) => {
  const notes: string[] = [];
  return { labels: settleLabels(labels, of, graph, 'a.pth', notes), notes };
};

test('ids in the order of the outputs are taken, with their labels where the lines hold the id alone', () => {
  const ids = parseClasses(known.map(({ wnid }) => wnid).join('\n'));
  expect(settle(ids)).toEqual({ labels: known, notes: [] });
  const named = parseClasses(known.map(({ wnid }, i) => `${wnid} name ${i}`).join('\n'));
  expect(settle(named)).toEqual({ labels: named, notes: [] });
});

test('ids in another order are refused with the first that differs', () => {
  const shuffled = [...known.slice(0, 500), ...known.slice(500).toReversed()];
  expect(() => settle(parseClasses(shuffled.map(({ wnid, label }) => `${wnid} ${label}`).join('\n')))).toThrow(
    expect.objectContaining({
      code: 'CLASSES',
      message:
        "a.pth: the labels are the model's classes in another order: n04613696 is its class 999, but label 500 of those given (counted from 0); put them in the order of the outputs, or give none".replace(
          'n04613696',
          known[999].wnid as string,
        ),
    }),
  );
});

test('labels without ids in another order are taken, but told of; those of another list are not', () => {
  const sorted = known.map(({ label }) => ({ label })).toSorted((a, b) => (a.label < b.label ? -1 : 1));
  const { labels, notes } = settle(sorted);
  expect(labels).toBe(sorted);
  expect(notes).toEqual([expect.stringMatching(/^a\.pth: 9\d\d of the 1000 labels given stand elsewhere/)]);
  expect(settle(known.map((_, i) => ({ label: `kind ${i}` }))).notes).toEqual([]);
  expect(settle(known.map(({ label }) => ({ label: label.toLowerCase() }))).notes).toEqual([]);
});

test('labels that are all the same are told of', () => {
  expect(settle(known.map(() => ({ label: 'thing' }))).notes).toEqual([
    'a.pth: all 1000 labels are "thing"; answers cannot be told apart by them',
  ]);
});

test('another number is refused; a subset is told apart', () => {
  const message = (labels: readonly ClassLabel[], of?: readonly ClassLabel[]): string => {
    try {
      settle(labels, of);
    } catch (error) {
      return (error as Error).message;
    }
    throw new Error('taken');
  };
  expect(message(known.slice(0, 100))).toMatch(
    /^a\.pth: the model has 1000 classes but 100 labels were given; they are a subset of its classes: .*--classes/,
  );
  expect(message(cifar10Classes)).toMatch(/1000 classes but 10 labels were given; give one label for each output/);
  expect(message([{ label: 'one' }])).toMatch(/1000 classes but 1 label was given; give/);
});

test('the classes of a model by number where nobody named them', () => {
  const record = { architecture: 'x', preprocess: 'custom', plan: [] };
  expect(classesOf({ graph: resnet18({ classes: 2 }), record })).toEqual([{ label: 'class 0' }, { label: 'class 1' }]);
  expect(classesOf({ graph, record: { ...record, classes: known } })).toBe(known);
  const features = network('f', { features: relu(input({ height: 4, width: 4 })) });
  expect(classesOf({ graph: features, record })).toEqual([]);
});
