import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { difference } from '../engines/check.js';
import { oracle, readTensors, shared, temporaryFolder } from '../testing.js';
import { load } from './load.js';

const architectures = [
  'resnet18',
  'resnet34',
  'resnet50',
  'resnet101',
  'resnet152',
  'resnext50_32x4d',
  'resnext101_32x8d',
  'wide_resnet50_2',
  'wide_resnet101_2',
];

/** Our names for the oracle's stages. */
const stages = {
  stem: 'stem',
  layer1: 'layer1',
  layer2: 'layer2',
  layer3: 'layer3',
  layer4: 'layer4',
  pooled: 'avgpool',
  logits: 'logits',
} as const;
const stageNames = Object.keys(stages) as (keyof typeof stages)[];

describe.skipIf(!shared)('torchvision: logits and the features of every stage', () => {
  const folder = temporaryFolder();
  afterAll(folder.remove);

  test.each(architectures)(
    '%s',
    async (architecture) => {
      const out = join(folder.path, architecture);
      oracle('torchvision_oracle.py', architecture, out, '--size', '128');
      const { input, ...expected } = await readTensors(join(out, 'expected.safetensors'), ['input', ...stageNames]);
      for (const container of ['pth', 'safetensors']) {
        await using model = await load(join(out, `${architecture}.${container}`), { deterministic: true });
        expect(model.record.architecture).toBe(architecture);
        const received = await model.run(input, Object.values(stages));
        for (const stage of stageNames)
          expect(difference(received[stages[stage]], expected[stage]), `${container}, ${stage}`).toBeLessThan(1e-4);
      }
      // Kernels chosen by the clock, Winograd's among them.
      await using model = await load(join(out, `${architecture}.pth`));
      expect(difference(await model.predict(input), expected.logits)).toBeLessThan(1e-4);
    },
    240_000,
  );
});
