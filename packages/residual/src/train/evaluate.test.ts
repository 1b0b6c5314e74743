import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { encodePng } from '../image/decode.js';
import { createModel } from '../tasks/model.js';
import { tensor } from '../tensor.js';
import { refusal, scratch } from '../testing.js';
import { evaluate } from './evaluate.js';
import { groundTruth } from './ground-truth.js';
import { tinyData, tinyGraph, tinyModel } from './train.test.helper.js';
import { cropped, mirrored, viewing } from './views.js';

const classes = ['red', 'green', 'blue', 'black', 'white'].map((label) => ({ label }));

/** A network of five classes, untrained. */
function five() {
  const { record } = tinyModel();
  return createModel(tinyGraph(5), { ...record, classes }, { engine: 'reference', seed: 2, warn: () => {} });
}

describe('views', () => {
  test('a picture’s mirror image and parts', () => {
    const picture = tensor([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 1, 3, 3]);
    expect([...mirrored(picture).data]).toEqual([3, 2, 1, 6, 5, 4, 9, 8, 7]);
    expect([...cropped(picture, { top: 1, left: 0, height: 2, width: 2 }).data]).toEqual([4, 5, 7, 8]);
  });

  test('ten crops out of what the plan resizes to', () => {
    const { plan } = tinyModel().record;
    const { plan: larger, views, height } = viewing(plan, 'ten-crop');
    expect(height).toBe(6);
    expect(larger[1]).toMatchObject({ step: 'resize', height: 7, width: 7 });
    const picture = tensor(
      Array.from({ length: 49 }, (_, i) => i),
      [1, 1, 7, 7],
    );
    const firsts = [...views(picture)].map(({ data }) => data[0]);
    expect(firsts).toEqual([0, 5, 1, 6, 7, 12, 8, 13, 8, 13]);
  });
});

describe('evaluate', () => {
  test('classes of the data are some of the model’s', async () => {
    const model = five();
    const data = tinyData(30, ['blue', 'Red']);
    const all = await evaluate(model, data, { part: 'train' });
    expect(all).toMatchObject({ pictures: 30, part: 'train', views: 'one', size: [6, 6], skipped: [] });
    expect(all.classes.map(({ pictures }) => pictures)).toEqual([15, 0, 15, 0, 0]);
    expect(all.confusion.flatMap((row) => [...row]).reduce((sum, n) => sum + n, 0)).toBe(30);
    const some = await evaluate(model, data, { part: 'train', among: 'data' });
    expect(some.classes.map(({ answered }) => answered > 0)).toEqual(expect.arrayContaining([true]));
    expect(some.classes[1].answered + some.classes[3].answered + some.classes[4].answered).toBe(0);
    for (const views of ['flip', 'ten-crop'] as const)
      expect(await evaluate(model, data, { part: 'train', views, size: 8 })).toMatchObject({
        pictures: 30,
        size: [8, 8],
      });
    expect((await evaluate(model, data)).part).toBe('validation');
    await model.dispose();
  });

  test('what the model does not know is named', async () => {
    const data = tinyData(6, ['red', 'violet']);
    expect(await refusal(evaluate(five(), data))).toMatchObject({
      code: 'CLASSES',
      message: expect.stringMatching(/"violet"/),
    });
    expect(await refusal(evaluate(five(), tinyData(), { part: 'test' }))).toMatchObject({
      code: 'ARGUMENT',
      message: expect.stringMatching(/no test part; there are train, validation/),
    });
  });
});

test('a flat folder with a file that says what it shows', async () => {
  const folder = scratch();
  const pictures = join(folder, 'val');
  mkdirSync(pictures);
  const png = await encodePng({ width: 6, height: 6, data: new Uint8Array(108).fill(200) });
  for (const name of ['1.png', '2.png', '10.png']) writeFileSync(join(pictures, name), png);
  const truth = (text: string) => {
    writeFileSync(join(folder, 'truth.txt'), text);
    return groundTruth(pictures, join(folder, 'truth.txt'), classes);
  };
  const targets = async (text: string) =>
    (await truth(text)).test?.map(({ id, target }) => [id.slice(pictures.length + 1), target]);
  expect(await targets('0\n4\n1\n')).toEqual([
    ['1.png', 0],
    ['2.png', 4],
    ['10.png', 1],
  ]);
  expect(await targets('10.png blue\n1.png, Red\n')).toEqual([
    ['10.png', 2],
    ['1.png', 0],
  ]);
  expect(await refusal(truth('0\n1\n'))).toMatchObject({
    code: 'DATA',
    message: expect.stringMatching(/2 lines for the 3/),
  });
  expect(await refusal(truth('3.png 1\n'))).toMatchObject({
    code: 'DATA',
    message: expect.stringMatching(/line 1 names 3.png/),
  });
  expect(await refusal(truth('5\n1\n1'))).toMatchObject({ code: 'CLASSES' });
  expect(await targets('filename,label\n10.png,blue\n')).toEqual([['10.png', 2]]);
  expect((await truth('10.png blue')).notes).toEqual([expect.stringMatching(/2 pictures of .*, such as 1\.png/)]);
  expect(await refusal(truth('1.png 1\n1.png 2\n'))).toMatchObject({
    message: expect.stringMatching(/line 2 names 1\.png a second time/),
  });
  expect(await evaluate(five(), await truth('0\n4\n1\n'))).toMatchObject({ pictures: 3, part: 'test' });
});
