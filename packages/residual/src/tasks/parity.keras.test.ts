import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { difference } from '../engines/check.js';
import { oneThread, python, readTensors, shared, temporaryFolder } from '../testing.js';
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

/**
 * Neither spelling nor kernels depend on the size of pictures. Softmax of random `keras2015` and `resnet50v2` is too
 * steep below 224.
 */
const small = ['--size', '64'];
const middle = ['--size', '128'];
const cases: [keyof typeof names, string[]][] = [
  ['keras2015', []],
  ['keras2015', ['--names', 'w0']],
  ['keras2015', ['--names', 'kernel', '--whole-model']],
  ['keras2015', ['--names', 'keras3', '--no-top', ...small]],
  ['keras2015', ['--classes', '6', ...small]],
  ['resnet50', middle],
  ['resnet50', ['--names', 'w', ...middle]],
  ['resnet50', ['--names', 'keras3', '--whole-model', ...middle]],
  ['resnet50', ['--no-top', ...small]],
  ['resnet50v2', []],
  ['resnet50v2', ['--names', 'w0']],
  ['resnet50v2', ['--names', 'keras3', '--no-top', ...small]],
];

const program = fileURLToPath(new URL('../../src/tasks/parity.keras.py', import.meta.url));

describe.skipIf(!shared)('Keras: softmax and the features of every stage', () => {
  const folder = temporaryFolder();
  const out = (topology: string, options: string[]) => join(folder.path, [topology, ...options].join('-'));
  beforeAll(() => {
    const list = cases.map(([topology, options]) => [topology, out(topology, options), ...options]);
    execFileSync(python, [program, join(shared as string, 'oracle'), JSON.stringify(list)], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: oneThread,
    });
  }, 600_000);
  afterAll(folder.remove);

  test.each(cases)(
    '%s %j',
    async (topology, options) => {
      const made = out(topology, options);
      const size = options.includes('--size') ? Number(options.at(-1)) : 224;
      // Each runs once; torchvision's networks are held to those kernels that the clock chooses, too.
      await using model = await load(join(made, `${topology}.h5`), { size, deterministic: true });
      expect(model.record.architecture).toBe(names[topology]);
      const top = !options.includes('--no-top');
      const results = await readTensors(join(made, 'expected.safetensors'), ['input', ...stageNames], 'NHWC');
      const received = await model.run(results.input, [...Object.values(stages), ...(top ? ['probabilities'] : [])]);
      for (const stage of stageNames)
        expect(difference(received[stages[stage]], results[stage]), stage).toBeLessThan(1e-4);
      if (top) {
        const { softmax } = await readTensors(join(made, 'expected.safetensors'), ['softmax']);
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
