import { ResidualError } from '../../errors.js';
import type { Backend } from '../backend.js';

/** A page has no way to a C library. */
export const onednn: Backend = {
  runtime: async () => refuse(),
  compile: async () => refuse(),
};

function refuse(): never {
  throw new ResidualError('ENGINE', 'engine "onednn" needs Node; in a page use "onnx"');
}
