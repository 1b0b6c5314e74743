import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodePng } from '#decode';
import { preset } from '../image/presets.js';
import { shared } from '../testing.js';
import { parseCsv } from './csv.js';
import type { Example } from './dataset.js';
import { counts, fresh, message, tree } from './dataset.test.helper.js';
import { folder } from './folder.js';
import { batches } from './loader.js';
import { open } from './open.js';
import { inOrder } from './order.js';
import { countClasses } from './targets.js';

describe('folders', () => {
  test('a folder for each class; classes by code point, pictures by path', async () => {
    const root = tree(
      'b/2.jpg',
      'b/1.PNG',
      'a/deep/x.jpeg',
      '\u{1f431}/1.jpg',
      '\uffee/1.jpg',
      'Z/1.jpg',
      'a/notes.txt',
      '.git/a.jpg',
      'loose.jpg',
    );
    const data = await open(root);
    expect(data.classes).toEqual(['Z', 'a', 'b', '\uffee', '\u{1f431}']);
    expect(data.train.map(({ id }) => id.slice(root.length + 1))).toEqual([
      'Z/1.jpg',
      'a/deep/x.jpeg',
      'b/1.PNG',
      'b/2.jpg',
      '\u{1f431}/1.jpg',
      '\uffee/1.jpg',
    ]);
    expect(data.train.map(({ target }) => target)).toEqual([0, 1, 2, 2, 4, 3]);
    expect(data.notes).toEqual([
      'files that are no pictures are left out: 1, such as a/notes.txt',
      "pictures in no class's folder are left out: 1, such as loose.jpg",
    ]);
  });

  test('train, val and test are parts; a class of that name is a class', async () => {
    const given = await open(tree('train/a/1.jpg', 'train/b/1.jpg', 'val/a/2.jpg', 'test/b/3.jpg'));
    expect([given.classes, ...counts(given)]).toEqual([['a', 'b'], 1 + 1, 1, 1]);
    const vehicles = await open(tree('train/1.jpg', 'bus/1.jpg'));
    expect(vehicles.classes).toEqual(['bus', 'train']);
    const exam = await open(tree('train/1.jpg', 'test/1.jpg'));
    expect(exam.classes).toEqual(['test', 'train']);
  });

  test('one class is enough to judge by', async () => {
    expect((await open(tree('a/1.jpg', 'a/2.jpg'))).classes).toEqual(['a']);
  });

  test('links are followed, not in circles', async () => {
    const root = tree('a/1.jpg', 'b/');
    symlinkSync(join(root, 'a'), join(root, 'c'));
    symlinkSync(root, join(root, 'b', 'up'));
    expect(await message(open(root))).toContain('is a link circular?');
  });

  test.each([
    [[], 'DATA ROOT: holds no pictures; expected a folder for each class'],
    [['1.jpg'], 'DATA ROOT: the pictures in it (1) lie in no folder'],
    [['a/1.jpg', 'b/', 'c/2.jpg'], 'CLASSES ROOT: no picture is in "b"; put some there or remove the folder'],
    [['train/a/1.jpg', 'train/b/', 'train/c/1.jpg'], 'CLASSES ROOT: no picture is in "b"'],
    [['Cat/1.jpg', 'cat/1.jpg'], 'CLASSES ROOT: the classes "Cat" and "cat" differ in case only'],
    [
      ['train/a/1.jpg', 'train/b/1.jpg', 'val/c/1.jpg'],
      'CLASSES ROOT: "c" is a class of the validation part that train/ does not have',
    ],
  ])('%j is refused', async (paths, expected) => {
    const root = tree(...paths);
    expect((await message(open(root))).replace(root, 'ROOT')).toContain(expected);
  });

  test('what is not there is refused', async () => {
    expect(await message(open('/no/such/place'))).toBe('FILE /no/such/place: there is no such file or folder');
    expect(await message(folder('/no/such/place'))).toContain(
      'FILE /no/such/place: cannot be listed: there is no such folder',
    );
  });
});

describe('archives', () => {
  const picture = encodePng({ width: 2, height: 2, data: new Uint8Array(12).fill(200) });
  const bright = encodePng({ width: 2, height: 2, data: new Uint8Array(12).fill(90) });

  async function archive(name: string, flags: string): Promise<string> {
    const root = fresh();
    for (const [path, bytes] of [
      ['set/train/cat/1.png', picture],
      ['set/train/dog/1.png', bright],
      ['set/test/cat/2.png', picture],
    ] as const) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), await bytes);
    }
    execFileSync('tar', [flags, join(root, name), '-C', root, 'set']);
    return join(root, name);
  }

  test.each([
    ['a.tar', '-cf', 'part'],
    ['a.tar.gz', '-czf', 'encoded'],
  ])('%s is read in place', async (name, flags, kind) => {
    const file = await archive(name, flags);
    const data = await open(file);
    expect([data.classes, ...counts(data)]).toEqual([['cat', 'dog'], 2, undefined, 1]);
    expect(data.train[0]).toMatchObject({ id: `${file}/set/train/cat/1.png`, source: { kind } });
    for await (const { images } of batches(data.train, {
      order: inOrder(2),
      batch: 2,
      plan: preset('raw255', { height: 2, width: 2 }),
      augment: [],
      classes: 2,
      seed: 0,
      epoch: 0,
    })) {
      expect(images.data[0]).toBe(200);
      expect(images.data[12]).toBe(90);
    }
  });

  test("long paths in POSIX' older form, absolute ones; a tar that breaks off", async () => {
    const root = fresh();
    const far = 'f'.repeat(60);
    for (const [path, bytes] of [
      [`${far}/${far}/cat/1.png`, picture],
      [`${far}/${far}/dog/1.png`, bright],
    ] as const) {
      mkdirSync(dirname(join(root, path)), { recursive: true });
      writeFileSync(join(root, path), await bytes);
    }
    const file = join(root, 'long.tar');
    execFileSync('tar', ['--format=ustar', '-P', '-cf', file, join(root, far)]);
    const data = await open(file);
    expect([data.classes, data.train.length]).toEqual([['cat', 'dog'], 2]);
    const whole = readFileSync(file);
    // Behind the second picture's header and its only block.
    const end = whole.lastIndexOf('ustar') - 257 + 1024;
    writeFileSync(file, whole.subarray(0, end));
    expect(await message(open(file))).toMatch(/^DATA .*without its end mark/);
  });

  test('other packings say what to do; damage is told', async () => {
    const root = fresh();
    const put = (name: string, bytes: Uint8Array): string => {
      writeFileSync(join(root, name), bytes);
      return join(root, name);
    };
    expect(await message(open(put('a.tar.xz', Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0))))).toMatch(
      /^DATA .*packed by xz, which is not read here; unpack it: tar xJf /,
    );
    expect(await message(open(put('a.zip', Uint8Array.of(0x50, 0x4b, 3, 4))))).toContain('unzip');
    expect(await message(open(put('b.tar', new Uint8Array(2000).fill(65))))).toContain('DATA');
    expect(await message(open(put('c.tar.gz', gzipSync('much text').subarray(0, 15))))).toContain(
      'the gzip is damaged or cut off',
    );
    expect(await message(open(put('empty.tar', new Uint8Array(1024))))).toContain('holds no pictures');
  });
});

describe('manifests', () => {
  const write = (name: string, text: string): string => {
    const root = tree('p/1.jpg', 'p/2.jpg', 'p/3.jpg');
    writeFileSync(join(root, name), text);
    return join(root, name);
  };

  test('CSV with a header, quotes and parts', async () => {
    const data = await open(
      write('m.csv', '\ufeffsplit;Path;"Label"\r\ntrain;p/1.jpg;"cat; ""big"""\r\nval;p/2.jpg;dog\r\n;p/3.jpg;dog\r\n'),
    );
    expect([data.classes, data.labels, ...counts(data)]).toEqual([['cat; "big"', 'dog'], 'one', 2, 1, undefined]);
    expect(data.train[0].id).toMatch(/p\/1\.jpg$/);
  });

  test('CSV without a header; labels that are numbers go by number', async () => {
    const rows = Array.from({ length: 11 }, (_, i) => `p/${(i % 3) + 1}.jpg,${i}`);
    const data = await open(write('m.csv', rows.join('\n')));
    expect(data.classes).toEqual([...Array(11).keys()].map(String));
    expect(data.train[10].target).toBe(10);
    const codes = await open(write('m.csv', 'p/1.jpg,01\np/2.jpg,1\np/3.jpg,0'));
    expect([codes.classes, codes.train.map(({ target }) => target)]).toEqual([
      ['0', '01', '1'],
      [1, 2, 0],
    ]);
    const many = Array.from({ length: 150_000 }, (_, i) => `p/1.jpg,${i}`);
    expect((await open(write('m.csv', many.join('\n')))).classes).toHaveLength(150_000);
  });

  test('several labels, and shares', async () => {
    const several = await open(write('m.csv', 'path,labels\np/1.jpg,b|a\np/2.jpg,\np/3.jpg,c'));
    expect([several.classes, several.labels, several.train.map(({ target }) => target)]).toEqual([
      ['a', 'b', 'c'],
      'several',
      [[0, 1], [], [2]],
    ]);
    const lists = await open(
      write('m.jsonl', '{"path":"p/1.jpg","labels":["x","y"]}\n{"file":"p/2.jpg","labels":["x"],"split":"test"}'),
    );
    expect([lists.labels, ...counts(lists)]).toEqual(['several', 1, undefined, 1]);
    const soft = await open(
      write('m.jsonl', '{"path":"p/1.jpg","label":{"x":0.25,"y":0.75}}\n\n{"path":"p/2.jpg","label":{"y":1}}'),
    );
    expect([soft.labels, soft.train.map(({ target }) => [...(target as Float32Array)])]).toEqual([
      'soft',
      [
        [0.25, 0.75],
        [0, 1],
      ],
    ]);
  });

  test.each([
    ['', 'DATA FILE: expected columns path and label but received nothing'],
    ['a,b\nc,d', 'DATA FILE: expected columns path and label but received a, b'],
    ['path,label\np/1.jpg', 'DATA FILE: line 2: expected a path and a label but received p/1.jpg'],
    ['path,label\np/1.jpg,', 'DATA FILE: line 2: the label is empty'],
    ['path,label\n"p/1.jpg,cat', 'DATA FILE: line 2: a quote is not closed'],
    [
      'path,label,split\np/1.jpg,a,mine',
      'DATA FILE: line 2: expected train, validation or test for the split but received "mine"',
    ],
    ['path,label\np/1.jpg,0\np/2.jpg,2', 'CLASSES FILE: labels go from 0 to 2 but no picture shows 1'],
    ['path,label\nq/1.jpg,a\np/2.jpg,b', 'FILE FILE: its first picture, ROOT/q/1.jpg, is not there'],
    ['path,label,split\np/1.jpg,a,test\np/2.jpg,b,test', 'DATA FILE: no picture is for training'],
    ['{"path":"p/1.jpg"', 'DATA FILE: line 1: is no JSON'],
    [
      '{"path":"p/1.jpg","label":"a"}\n{"path":"p/2.jpg","label":["b"]}',
      'DATA FILE: line 2: has a list of labels where the first line has one label',
    ],
    [
      '{"path":"p/1.jpg","label":{"a":2}}',
      'DATA FILE: line 1: expected a label, a list of labels or shares from 0 to 1 by label but received {"a":2}',
    ],
    ['{"path":"p/1.jpg","label":{"a":0,"b":0}}', 'DATA FILE: line 1: the shares of the labels sum to 0 and must to 1'],
    ['{"path":3,"label":"a"}', 'DATA FILE: line 1: expected a path'],
  ])('%j is refused', async (text, expected) => {
    const file = write('m.csv', text);
    expect((await message(open(file))).replaceAll(file, 'FILE').replaceAll(dirname(file), 'ROOT')).toContain(expected);
  });

  test('any table comes back from CSV', () => {
    const cell = fc
      .string({ unit: fc.constantFrom('a', '"', ',', '\n', 'ü', ' x'), minLength: 1 })
      .map((text) => `c${text.trim()}c`);
    fc.assert(
      fc.property(fc.array(fc.array(cell, { minLength: 2, maxLength: 4 }), { minLength: 1 }), (rows) => {
        const text = rows.map((row) => row.map((one) => `"${one.replaceAll('"', '""')}"`).join(',')).join('\r\n');
        expect(parseCsv(text, 'x').map(({ cells }) => cells)).toEqual(rows);
      }),
    );
  });
});

describe('binary data sets', () => {
  test('CIFAR-10 and CIFAR-100', async () => {
    const ten = fresh();
    const record = (...labels: number[]) => Uint8Array.from([...labels, ...Array(3072).fill(labels.at(-1))]);
    writeFileSync(join(ten, 'data_batch_1.bin'), Buffer.concat([record(3), record(9)]));
    writeFileSync(join(ten, 'data_batch_2.bin'), record(0));
    writeFileSync(join(ten, 'test_batch.bin'), record(7));
    const data = await open(ten);
    expect([data.classes[3], data.train.map(({ target }) => target), data.test?.length]).toEqual(['cat', [3, 9, 0], 1]);
    expect(data.train[1]).toMatchObject({ id: 'train[1]', source: { planar: true, offset: 3074 } });
    const hundred = fresh();
    writeFileSync(join(hundred, 'train.bin'), Buffer.concat([record(1, 99), record(2, 5)]));
    const fine = await open(hundred);
    expect([fine.classes.length, fine.train.map(({ target }) => target)]).toEqual([100, [99, 5]]);
    writeFileSync(join(ten, 'data_batch_2.bin'), record(0).subarray(1));
    expect(await message(open(ten))).toContain(
      'data_batch_2.bin: has 3072 bytes, which are not whole pictures of 3073',
    );
    writeFileSync(join(ten, 'data_batch_2.bin'), record(11));
    expect(await message(open(ten))).toContain('train[2] has label 11; expected 0 to 9');
  });

  test('IDX that is damaged or incomplete', async () => {
    const root = fresh();
    const images = (count: number) =>
      Uint8Array.from([0, 0, 8, 3, 0, 0, 0, count, 0, 0, 0, 2, 0, 0, 0, 2, ...Array(4 * count).fill(7)]);
    const labels = (...of: number[]) => Uint8Array.from([0, 0, 8, 1, 0, 0, 0, of.length, ...of]);
    writeFileSync(join(root, 'train-images-idx3-ubyte'), images(3));
    expect(await message(open(root))).toContain(
      'the labels of the train part are missing; expected train-labels-idx1-ubyte',
    );
    writeFileSync(join(root, 'train-labels.idx1-ubyte.gz'), gzipSync(labels(1, 0, 2)));
    const data = await open(root);
    expect([data.classes, data.train.map(({ target }) => target), data.test]).toEqual([
      ['0', '1', '2'],
      [1, 0, 2],
      undefined,
    ]);
    writeFileSync(join(root, 'train-labels.idx1-ubyte.gz'), gzipSync(labels(1, 0)));
    expect(await message(open(root))).toContain('has 2 labels');
    writeFileSync(join(root, 'train-images-idx3-ubyte'), images(3).subarray(0, 20));
    expect(await message(open(root))).toContain('should have 28 bytes for [3, 2, 2] but has 20');
    writeFileSync(join(root, 'train-images-idx3-ubyte'), labels(1));
    expect(await message(open(root))).toContain(
      'expected an IDX file of bytes with 3 dimensions (magic number 2051) but received magic number 2049',
    );
  });

  describe.skipIf(!shared)('Fashion-MNIST', () => {
    test('its pictures, labels and names', async () => {
      const data = await open(join(shared as string, 'data', 'fashion-mnist'), { validation: 5000 / 60_000, seed: 0 });
      expect([data.classes[9], ...counts(data)]).toEqual(['Ankle boot', 55_000, 5000, 10_000]);
      expect([...countClasses(data.validation ?? [], 10)]).toEqual(Array(10).fill(500));
      const order = inOrder(10_000);
      let sum = 0;
      for await (const { images } of batches(data.test as Example[], {
        order,
        batch: 500,
        plan: preset('raw255', { height: 28, width: 28 }),
        channels: 1,
        augment: [],
        classes: 10,
        seed: 0,
        epoch: 0,
      }))
        sum += images.data.reduce((a, b) => a + b, 0);
      // The mean of the test pictures, as NumPy has it.
      expect(sum / (10_000 * 784) / 255).toBeCloseTo(0.28685, 4);
    });
  });

  test.skipIf(!shared)('cats and dogs with their list of held-out pictures', async () => {
    const root = join(shared as string, 'data', 'cats-dogs');
    const data = await open(root, { test: join(root, 'heldout.txt') });
    expect([data.classes, ...counts(data)]).toEqual([['cat', 'dog'], 400, undefined, 100]);
  });
});
