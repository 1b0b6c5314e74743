import { describe } from 'vitest';
import { testTraining } from '../training.test.cases.js';
import { referenceTraining } from './train.js';

describe('training by plain loops is what the others are compared with', () => {
  testTraining(referenceTraining, { bound: 0 });
});
