import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { noiseWeights } from '../engines/sketch.js';
import { build } from '../models/resnet.js';
import { temporaryFolder } from '../testing.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { convert } from './convert.js';
import { load } from './load.js';

// Weights of networks that no name tells from another's: the user says whose they are.

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (name: string) => join(folder.path, name);
const small = { classes: 3, width: 4, widthPerGroup: 4, depths: [1, 1, 1, 1] };
const net = build('resnetblur18', small);
writeFileSync(at('source.safetensors'), Buffer.concat([...safetensorsBytes(noiseWeights(net, 4))]));

const source = at('source.safetensors');

/** Whether a file, loaded without options, blurs. */
async function blurs(name: string): Promise<boolean> {
  await using model = await load(at(name));
  return model.graph.nodes.some(({ op }) => op === 'blurPool');
}

test('files that can say which network it is say so', async () => {
  for (const name of ['a.residual', 'a.safetensors', 'a.onnx']) {
    await convert(source, at(name), { architecture: net });
    expect(await blurs(name), name).toBe(true);
  }
  // It goes before what a record says.
  const plain = build('resnet18', small);
  for (const name of ['b.residual', 'b.safetensors', 'b.pth']) {
    await convert(at('a.residual'), at(name), { architecture: plain });
    expect(await blurs(name), name).toBe(false);
  }
});

test('files that cannot are refused, and so are weights of another network', async () => {
  await expect(convert(source, at('c.pth'), { architecture: net })).rejects.toThrow(
    'cannot be written as a .pth file: it would be read as resnet of 1, 1, 1, 1 basic blocks: layer2.0.conv1 would',
  );
  for (const name of ['c.pth', 'c.safetensors', 'c.residual'])
    await expect(convert(source, at(name), { architecture: 'resnet34' }), name).rejects.toMatchObject({
      code: 'WEIGHTS_MISMATCH',
    });
  await expect(convert(source, at('c.pth'), { architecture: 'resnet17' })).rejects.toMatchObject({
    code: 'UNKNOWN_NAME',
  });
});
