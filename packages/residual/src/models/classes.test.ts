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

test('a byte order mark, tabs and line ends of Windows are no part of a label', () => {
  expect(parseClasses('\ufeffn01440764\ttench\r\n猫\r\n')).toEqual([
    { wnid: 'n01440764', label: 'tench' },
    { label: '猫' },
  ]);
});
