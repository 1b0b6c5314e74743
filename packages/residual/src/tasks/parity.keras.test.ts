import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { difference } from '../engines/check.js';
import { oracle, readTensors, shared, temporaryFolder } from '../testing.js';
import { load } from './load.js';

const names = { keras2015: 'keras2015-resnet50', resnet50: 'keras-resnet50', resnet50v2: 'keras-resnet50v2' } as const;

/** The oracle's names of the stages, and ours. */
const stages = {
  stem: 'stem',
  stage2: 'layer1',
  stage3: 'layer2',
  stage4: 'layer3',
  stage5: 'layer4',
  pooled: 'avgpool',
} as const;
const stageNames = Object.keys(stages) as (keyof typeof stages)[];

/** How weights are spelled does not depend on the size of pictures. Softmax of random `keras2015` is too steep there. */
const small = ['--size', '64'];
const cases: [keyof typeof names, string[]][] = [
  ['keras2015', []],
  ['keras2015', ['--names', 'w0']],
  ['keras2015', ['--names', 'kernel', '--whole-model']],
  ['keras2015', ['--names', 'keras3', '--no-top', ...small]],
  ['keras2015', ['--classes', '6', ...small]],
  ['resnet50', []],
  ['resnet50', ['--names', 'w', ...small]],
  ['resnet50', ['--names', 'keras3', '--whole-model', ...small]],
  ['resnet50', ['--no-top', ...small]],
  ['resnet50v2', []],
  ['resnet50v2', ['--names', 'w0', ...small]],
  ['resnet50v2', ['--names', 'keras3', '--no-top', ...small]],
];

describe.skipIf(!shared)('Keras: softmax and the features of every stage', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);

  test.each(cases)(
    '%s %j',
    async (topology, options) => {
      const out = join(folder.path, [topology, ...options].join('-'));
      oracle('keras_oracle.py', topology, out, ...options);
      const size = options.includes('--size') ? 64 : 224;
      await using model = await load(join(out, `${topology}.h5`), { size });
      expect(model.record.architecture).toBe(names[topology]);
      const top = !options.includes('--no-top');
      const results = await readTensors(join(out, 'expected.safetensors'), ['input', ...stageNames], 'NHWC');
      const received = await model.run(results.input, [...Object.values(stages), ...(top ? ['probabilities'] : [])]);
      for (const stage of stageNames)
        expect(difference(received[stages[stage]], results[stage]), stage).toBeLessThan(1e-4);
      if (top) {
        const { softmax } = await readTensors(join(out, 'expected.safetensors'), ['softmax']);
        const worst = softmax.data.reduce(
          (most, p, i) => Math.max(most, Math.abs(p - received.probabilities.data[i])),
          0,
        );
        expect(worst).toBeLessThan(1e-5);
      }
    },
    120_000,
  );
});
