import { expect, test } from 'vitest';
import { errorFromJSON, ResidualError } from './errors.js';

test('names out of files cannot break the line or move the cursor; details hold them as they are', () => {
  const name = 'layer\n1\u001b[2J\u202e\u2028x';
  const error = new ResidualError('WEIGHTS_FORMAT', `a.pth: tensor ${name}: expected floats`, { name });
  expect(error.message).toBe('a.pth: tensor layer 1\ufffd[2J\ufffd x: expected floats');
  expect(error.details).toEqual({ name });
  expect(errorFromJSON(JSON.parse(JSON.stringify(error)))).toEqual(error);
});
