import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { python, shared } from '../testing.js';
import { classesOfFolders, classFinder, matchClasses } from './class-map.js';
import { type ClassLabel, cifar10Classes, imagenetClasses, parseClasses } from './classes.js';

const imagenet = await imagenetClasses();
const refusal = (names: readonly string[], classes: readonly ClassLabel[] = imagenet): string => {
  try {
    matchClasses(names, classes);
  } catch (error) {
    expect(error).toMatchObject({ code: 'CLASSES' });
    return (error as Error).message;
  }
  throw new Error(`${names} were matched`);
};

test.each([
  ['386', 386],
  ['0', 0],
  ['007', 7],
  ['n02504458', 386],
  ['n02504458_African_elephant', 386],
  ['n02504458 African elephant, Loxodonta africana', 386],
  ['African_elephant', 386],
  ['African elephant', 386],
  ['african-elephant', 386],
  ['AFRICAN ELEPHANT ', 386],
  ['African elephant, Loxodonta africana', 386],
  ["jack o' lantern", 607],
  ['jack-o-lantern', 607],
  ['Cardigan', 264],
  ['Cardigan, Cardigan Welsh corgi', 264],
  ['cardigan', 474],
  ['sunglass', 836],
  ['sunglasses, dark glasses, shades', 837],
  ['missile', 657],
  ['projectile, missile', 744],
  ['Windsor tie', 906],
  ['n03126707', 517],
  ['n03710721 maillot, tank suit', 639],
])('%j is class %i of ImageNet', (name, index) => {
  expect(matchClasses([name], imagenet)).toEqual([index]);
});

test('every index, id and unique label of ImageNet is found in any order; five labels need more than case-blind words', () => {
  expect(matchClasses(imagenet.map((_, i) => `${i}`).toReversed(), imagenet)[0]).toBe(999);
  expect(matchClasses(imagenet.map(({ wnid }) => wnid as string).toReversed(), imagenet)[999]).toBe(0);
  const find = classFinder(imagenet);
  const lost = imagenet.flatMap(({ label }, i) => (find(label).join() === `${i}` ? [] : [i]));
  expect(lost).toEqual([134, 517, 638, 639]); // crane twice, maillot twice
  const lower = imagenet.flatMap(({ label }, i) =>
    find(label.toLowerCase().replaceAll('_', ' ')).join() === `${i}` ? [] : [i],
  );
  expect(lower).toEqual([134, 264, 517, 638, 639]); // `cardigan` is the garment's label to the letter
});

test('what does not match is named, all of it, with the nearest label', () => {
  expect(refusal(['tench', 'elefant', 'crane', 'n99999999', '1000', 'maillot'])).toBe(
    'class names: "elefant" (nearest: "African_elephant"), "n99999999", "1000" (indices go from 0 to 999) are no classes of the model, which has 1000; ' +
      '"crane" (class 134, n02012849 crane or class 517, n03126707 crane), ' +
      '"maillot" (class 638, n03710637 maillot or class 639, n03710721 maillot) are ambiguous, give the index or the WordNet id',
  );
  expect(refusal(['great white shrk'])).toContain('(nearest: "great_white_shark")');
  expect(refusal(['', '--', ','])).toMatch(/^class names: "", "--", "," are no classes/);
  expect(refusal(['tench', 'n01440764'])).toBe(
    'class names: "tench" and "n01440764" mean the same class 0, n01440764 tench',
  );
  expect(refusal(['CARDIGAN'])).toContain('class 264, n02113186 Cardigan or class 474, n02963159 cardigan');
});

test('an id with the label of another class behind it is a contradiction', () => {
  expect(refusal(['n02504458_tusker'])).toContain(
    'class 386, n02504458 African_elephant or class 101, n01871265 tusker',
  );
  expect(refusal(['n02012849 machine'])).toContain(
    '"n02012849 machine" (the id is that of class 134, n02012849 crane) is no class of the model',
  );
  expect(matchClasses(['n02504458 elephant of Africa'], imagenet)).toEqual([386]);
  expect(matchClasses(['n02504458_Tantor'], imagenet)).toEqual([386]); // an unknown word says nothing against it
});

test('an index out of range, and nothing at all', () => {
  for (const name of ['-1', '1000', '+3'])
    expect(refusal([name])).toBe(
      `class names: "${name}" (indices go from 0 to 999) is no class of the model, which has 1000`,
    );
  expect(refusal(['', ' '])).toBe('class names: no class is named; give labels or indices');
});

test('a hundred names without a class: the message spells out twenty, the details hold all', () => {
  const names = Array.from({ length: 100 }, (_, i) => `quux ${i}`);
  expect(() => matchClasses(names, imagenet)).toThrow(
    expect.objectContaining({ details: { unmatched: names }, message: expect.stringContaining(' and 80 more are no') }),
  );
});

test('where all labels are numbers a number is a label, else label and place must agree', () => {
  const digits = Array.from({ length: 10 }, (_, i) => ({ label: `${i}` }));
  expect(matchClasses(['3', '0'], digits)).toEqual([3, 0]);
  expect(matchClasses(['3', '0'], digits.toReversed())).toEqual([6, 9]);
  const padded = ['001', '002', '010'].map((label) => ({ label }));
  expect(matchClasses(['010', '001'], padded)).toEqual([2, 0]);
  expect(refusal(['1'], padded)).toContain('"1"');
  const mixed = ['2', 'cat', '1'].map((label) => ({ label }));
  expect(refusal(['2'], mixed)).toContain('class 0, 2 or class 2, 1');
  expect(matchClasses(['cat'], mixed)).toEqual([1]);
});

test('labels that are lists of synonyms are found by a term, the first before the others', () => {
  const classes = parseClasses('tench, Tinca tinca\nmissile\nprojectile, missile\nhen, biddy\nrooster, biddy');
  expect(matchClasses(['Tench', 'missile', 'projectile', 'hen'], classes)).toEqual([0, 1, 2, 3]);
  expect(matchClasses(['tinca_tinca'], classes)).toEqual([0]);
  expect(refusal(['biddy'], classes)).toContain('class 3, hen, biddy or class 4, rooster, biddy');
});

test('any subset in any order and spelling comes back as its indices', () => {
  const spell = [
    (i: number) => `${i}`,
    (i: number) => imagenet[i].wnid as string,
    (i: number) => `${imagenet[i].wnid}_${imagenet[i].label}`,
    (i: number) => `${imagenet[i].wnid} ${imagenet[i].label.replaceAll('_', ' ')}, something else`,
  ];
  const subset = fc.uniqueArray(fc.integer({ min: 0, max: 999 }), { minLength: 1, maxLength: 100 });
  fc.assert(
    fc.property(subset, fc.array(fc.nat(3), { minLength: 100, maxLength: 100 }), (indices, how) => {
      expect(
        matchClasses(
          indices.map((index, i) => spell[how[i]](index)),
          imagenet,
        ),
      ).toEqual(indices);
    }),
    { numRuns: 50 },
  );
});

describe('folders', () => {
  test('a path is what the folder it lies in is named after', () => {
    const files = ['a/Ship/1.jpg', 'a/cat/2.jpg', 'b/ship/x/cat/3.jpg', 'a\\dog\\4.jpg', '5/6.jpg'];
    expect(classesOfFolders(files, cifar10Classes)).toEqual([8, 3, 3, 5, 5]);
  });

  test('folders without a class are named once each; paths without a folder are refused', () => {
    expect(() => classesOfFolders(['a/x/1.jpg', 'a/x/2.jpg', 'a/y/3.jpg'], cifar10Classes)).toThrow(
      'names of folders: "x", "y" are no classes of the model, which has 10',
    );
    for (const file of ['1.jpg', './1.jpg', '../1.jpg'])
      expect(() => classesOfFolders([file], cifar10Classes)).toThrow(`${file}: lies in no folder`);
  });
});

describe.skipIf(!shared)('real lists', () => {
  test("torchvision's categories are all found, but for the two it calls otherwise", () => {
    const program = 'import json; from torchvision.models._meta import _IMAGENET_CATEGORIES as c; print(json.dumps(c))';
    const categories: string[] = JSON.parse(execFileSync(python, ['-c', program], { encoding: 'utf8' }));
    const find = classFinder(imagenet);
    const wrong = categories.flatMap((label, i) => (find(label).join() === `${i}` ? [] : [[label, ...find(label)]]));
    expect(wrong).toEqual([['crane bird'], ['crane', 134, 517], ['maillot', 638, 639], ['maillot tank suit']]);
    const theirs = categories.map((label) => ({ label }));
    expect(matchClasses(['crane', 'maillot', 'crane-bird', 'maillot, tank suit'], theirs)).toEqual([
      517, 638, 134, 639,
    ]);
  });

  test('the forty photographs by their names', () => {
    const names = readdirSync(join(shared as string, 'data/imagenet-40'))
      .filter((file) => file.endsWith('.JPEG'))
      .map((file) => file.replace('.JPEG', ''));
    const indices = matchClasses(names, imagenet);
    expect(indices.map((index) => imagenet[index].wnid)).toEqual(names.map((name) => name.slice(0, 9)));
    expect(indices).toHaveLength(40);
  });
});
