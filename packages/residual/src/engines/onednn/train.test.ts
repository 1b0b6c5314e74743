import { describe } from 'vitest';
import { testTraining } from '../training.test.cases.js';
import { withLibrary } from './dnnl.test.helper.js';
import { onednnTraining } from './train.js';

withLibrary('training', () => {
  describe('in bf16', () => {
    testTraining(onednnTraining, { bound: 0.1, threads: 1, precision: 'bf16' });
  });
});
