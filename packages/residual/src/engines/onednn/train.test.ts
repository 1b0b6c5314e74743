import { describe } from 'vitest';
import { testTraining } from '../training.test.cases.js';
import { withLibrary } from './dnnl.test.helper.js';
import { onednnTraining } from './train.js';

withLibrary('training', () => {
  describe('in f32', () => {
    testTraining(onednnTraining, { bound: 1e-4, threads: 1 });
  });
});
