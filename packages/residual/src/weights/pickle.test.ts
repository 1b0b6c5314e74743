import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ResidualError } from '../errors.js';
import { unpickle } from './pickle.js';
import { truncated } from './pickle-operands.js';
import type { Pickled } from './pickle-values.js';
import { torchPickle } from './torch-values.js';

const ascii = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const run = (bytes: Uint8Array) => unpickle(bytes, 0, torchPickle('x.pth'));
const resultOf = (text: string): Pickled => {
  const result = run(ascii(text));
  if (result === truncated) throw new Error('truncated');
  return result.value;
};
const errorOf = (text: string): ResidualError => {
  try {
    run(ascii(text));
  } catch (error) {
    if (error instanceof ResidualError) return error;
    throw error;
  }
  throw new Error('expected a refusal');
};

describe('a closed machine', () => {
  test.each([
    ['GLOBAL', '\x80\x02cos\nsystem\nX\x04\0\0\0echo\x85R.', 'os.system'],
    ['GLOBAL, protocol 0', "cos\nsystem\n(S'echo'\ntR.", 'os.system'],
    ['STACK_GLOBAL', '\x80\x04\x8c\x05posix\x8c\x06system\x93.', 'posix.system'],
    ['INST', "(S'echo'\nios\nsystem\n.", 'os.system'],
    ['eval', '\x80\x02c__builtin__\neval\n.', '__builtin__.eval'],
    [
      'a dotted name',
      '\x80\x04\x8c\x0bcollections\x8c\x15OrderedDict.__class__\x93.'.replace('\x15', '\x15'),
      'collections.OrderedDict.__class__',
    ],
    ['a prototype name', '\x80\x02cconstructor\nprototype\n.', 'constructor.prototype'],
  ])('refuses %s by name', (_, pickle, name) => {
    const error = errorOf(pickle);
    expect(error.code).toBe('WEIGHTS_UNSAFE');
    expect(error.details.global).toBe(name);
    expect(error.message).toContain(`x.pth: its pickle names ${name}, `);
    expect(error.message).toContain('nothing was executed');
  });

  test('refuses extension codes and out-of-band buffers', () => {
    for (const opcode of ['\x82\x01', '\x83\x01\0', '\x97', '\x98'])
      expect(errorOf(`\x80\x05${opcode}.`).code).toBe('WEIGHTS_FORMAT');
  });

  test('reads the values of every protocol', () => {
    expect(resultOf('I01\n.')).toBe(true);
    expect(resultOf('I-7\n.')).toBe(-7);
    expect(resultOf('L123456789012345678901L\n.')).toBe(123456789012345678901n);
    expect(resultOf('F2.5\n.')).toBe(2.5);
    expect(resultOf('\x80\x02J\xff\xff\xff\xff.')).toBe(-1);
    expect(resultOf('\x80\x02\x8a\x02\x00\x80.')).toBe(-32768);
    expect(resultOf('\x80\x02G\x3f\xf0\0\0\0\0\0\0.')).toBe(1);
    expect(resultOf('\x80\x04\x95\x06\0\0\0\0\0\0\0\x8c\x02hi\x94.')).toBe('hi');
    expect(resultOf('(I1\nI2\nl.')).toEqual({ kind: 'list', items: [1, 2] });
    expect(resultOf('\x80\x02}(K\x01K\x02K\x03K\x04u.')).toEqual({ kind: 'dict', entries: [1, 2, 3, 4] });
    expect(resultOf('\x80\x02]q\x00(K\x01h\x00e.')).toMatchObject({ kind: 'list', items: [1, { kind: 'list' }] });
    expect(resultOf('\x80\x04\x8f(K\x01\x90.')).toEqual({ kind: 'set', items: [1] });
  });

  test('a pickle that goes on beyond the bytes says so', () => {
    expect(run(ascii('\x80\x02]q\x00('))).toBe(truncated);
    expect(run(ascii('\x80\x02X\xff\xff\xff\xffabc'))).toBe(truncated);
  });

  test.each([
    ['an empty stack', '\x80\x02.'],
    ['a missing mark', '\x80\x02K\x01t.'],
    ['memo 9', '\x80\x02h\x09.'],
    ['a key without a value', '\x80\x02}(K\x01u.'],
    ['something that is no list', '\x80\x02K\x01K\x02a.'],
    ['opcode 0xff', '\x80\x02\xff.'],
    ['a protocol above 5', '\x80\x09.'],
    ['an integer of 16777216 bytes', '\x80\x02\x8b\0\0\0\x01.'],
    ['a call of something that is no function', '\x80\x02K\x01)R.'],
    ['makes no sense', '\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.'],
  ])('refuses %s', (what, pickle) => {
    expect(errorOf(pickle)).toMatchObject({ code: 'WEIGHTS_FORMAT', message: expect.stringContaining(what) });
  });

  test('too many opcodes end', () => {
    const bytes = new Uint8Array(5_000_000).fill('N'.charCodeAt(0));
    bytes.set([0x80, 2]);
    expect(() => run(bytes)).toThrow(/more than 2000000 opcodes/);
  });

  test('copying a long list again and again ends', () => {
    // A list of 100,000 numbers, then `set(list)` a thousand times.
    const text = `\x80\x02]q\x00(${'K\x01'.repeat(100_000)}e${'c__builtin__\nset\nh\x00\x85R0'.repeat(1000)}.`;
    expect(errorOf(text).message).toContain('makes no sense');
  });

  test('any bytes give a value, truncation or an error of ours', () => {
    const opcodes =
      '.(012FGIJKLMNPQRSTUVXabcdefghijloqrstu]})\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8f\x90\x91\x93\x94\x95\x01\n';
    const letter = fc.oneof(
      { weight: 9, arbitrary: fc.constantFrom(...opcodes).map((c) => c.charCodeAt(0)) },
      { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
    );
    fc.assert(
      fc.property(fc.array(letter, { maxLength: 60 }), (letters) => {
        try {
          run(Uint8Array.from(letters));
        } catch (error) {
          if (!(error instanceof ResidualError)) throw error;
        }
      }),
      { numRuns: 3000 },
    );
  });
});
