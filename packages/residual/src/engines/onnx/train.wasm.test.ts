import { afterAll, describe } from 'vitest';
import { testTraining } from '../training.test.cases.js';
import { onnxTraining } from './train.js';

// Asked for when the first step is made ready, and for this file's process alone.
const before = process.env.RESIDUAL_ORT;
process.env.RESIDUAL_ORT = 'wasm';
afterAll(() => {
  if (before === undefined) delete process.env.RESIDUAL_ORT;
  else process.env.RESIDUAL_ORT = before;
});

describe('onnx in WebAssembly trains as reference does', () => {
  testTraining(onnxTraining, { bound: 1e-4, threads: 1 });
});
