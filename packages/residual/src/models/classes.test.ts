import { expect, test } from 'vitest';
import { parseClasses } from './classes.js';

test.each([
  ['NUL bytes', 'cat\0dog\n'],
  ['UTF-16, read as UTF-8', Buffer.from('cat\ndog\n', 'utf16le').toString('utf8')],
  ['a picture', Buffer.from([0xff, 0xd8, 0xff, 0xe0, 0x00, 0x10]).toString('utf8')],
  ['Latin-1', Buffer.from('Größe', 'latin1').toString('utf8')],
])('%s is no list of labels', (_, text) => {
  expect(() => parseClasses(text, 'labels.txt')).toThrow(
    expect.objectContaining({
      code: 'CLASSES',
      message: expect.stringMatching(/^labels\.txt is no text in UTF-8: .*one label a line/),
    }),
  );
});

test.each([
  [
    'a Python dictionary',
    "{0: 'tench, Tinca tinca',\n 1: \"jack-o'-lantern\",\n 2: 'x'}",
    ['tench, Tinca tinca', "jack-o'-lantern", 'x'],
  ],
  ["one of Python's on one line", "{0: 'cat', 1: 'dog'}", ['cat', 'dog']],
  [
    'quotes, commas and braces in it',
    `{0: 'a, b', 2: "jack-o'-lantern, {2: 'x'}", 1: 'te\\'n"ch', 3: 'back\\\\slash',}`,
    ['a, b', 'te\'n"ch', "jack-o'-lantern, {2: 'x'}", 'back\\slash'],
  ],
  ["Python's class_to_idx", "{'dog': 1, 'cat': 0}", ['cat', 'dog']],
  ["Python's list", "['cat', \"dog's\"]", ['cat', "dog's"]],
  ['lines with their indices', '0 cat\n1 dog', ['cat', 'dog']],
  [
    'such lines sorted as text',
    ['0', '1', '10', '2', ...'3456789'].map((n) => `${n}: l${n}`).join('\n'),
    [...'0123456789', '10'].map((n) => `l${n}`),
  ],
  ['such a table', '1,hen, a bird\r\n0,cock', ['cock', 'hen, a bird']],
  ['lines numbered from 1', '1 euro\n2 euro', ['1 euro', '2 euro']],
  ['numbers in some labels', '2 cv\ncar', ['2 cv', 'car']],
  ['digits', '7\n3', ['7', '3']],
  ['indices by label', '{"dog": 1, "cat": 0}', ['cat', 'dog']],
  ['id2label of a config', '{"id2label": {"1": "dog", "0": "cat"}}', ['cat', 'dog']],
  ['a JSON list', '["cat", "dog"]', ['cat', 'dog']],
])('%s', (_, text, labels) => {
  expect(parseClasses(text)).toEqual(labels.map((label) => ({ label })));
});

test('WordNet ids: as keys, with a label, alone', () => {
  const [tench, goldfish] = [
    { wnid: 'n01440764', label: 'tench' },
    { wnid: 'n01443537', label: 'goldfish' },
  ];
  expect(parseClasses('{"n01443537": "goldfish", "n01440764": "tench"}')).toEqual([goldfish, tench]);
  expect(parseClasses('{"0": ["n01440764", "tench"]}')).toEqual([tench]);
  expect(parseClasses("{0: ('n01440764', 'tench')}")).toEqual([tench]);
  expect(parseClasses('n01443537\t1\tgoldfish\nn01440764\t0\ttench')).toEqual([tench, goldfish]);
  expect(parseClasses('{"n01443537": 1, "n01440764": 0}')).toEqual(
    ['n01440764', 'n01443537'].map((wnid) => ({ wnid, label: wnid })),
  );
  expect(parseClasses('n01443537 goldfish\nn01440764')).toEqual([goldfish, { wnid: 'n01440764', label: 'n01440764' }]);
});

test.each([
  ['{0: cat}'],
  ["{0: 'cat',\n 2: 'dog'}"],
  ["{0: 'cat', 1: 'dog}"],
  ["{0: 'c\\x61t'}"],
  ['0 cat\n2 dog'],
  ['2 cat\n1 dog'],
  ['0 cat\n0 dog'],
  ['5 euro\n2 euro'],
  ['{}x'],
  ['{"a": 1}'],
  ['[1]'],
  ['[""]'],
])('%j is refused', (text) => {
  expect(() => parseClasses(text)).toThrow(expect.objectContaining({ code: 'CLASSES' }));
});

test('a label that is there twice leaves a gap in the indices by label, which is said', () => {
  expect(() => parseClasses('{"tench": 0, "crane": 1, "hen": 2, "crane": 3}', 'map.json')).toThrow(
    'map.json has no class 1; number the classes from 0 without gaps; a label may be there twice, of which JSON keeps the last',
  );
});

test('numbers before the labels that leave no order are named', () => {
  expect(() => parseClasses('2 cat\n1 dog', 'l.txt')).toThrow(
    'l.txt has no class 0; number the classes from 0 without gaps, in any order, as the lines begin with numbers; if those',
  );
});

test('a byte order mark, tabs and line ends of Windows are no part of a label', () => {
  expect(parseClasses('\ufeffn01440764\ttench\r\n猫\r\n')).toEqual([
    { wnid: 'n01440764', label: 'tench' },
    { label: '猫' },
  ]);
});
