export { type ErrorCode, ResidualError } from './errors.js';
export { type Tensor, tensor } from './tensor.js';
