import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { noise, noiseTensor } from '../engines/sketch.js';
import type { Tensor } from '../tensor.js';
import { temporaryFolder } from '../testing.js';
import { kerasBytes } from '../weights/write-keras.js';
import { convert } from './convert.js';
import { load } from './load.js';

const folder = temporaryFolder();
afterAll(folder.remove);
const at = (name: string) => join(folder.path, name);

/** A whole Keras model of layers with names of their own, whose convolution has this activation. */
async function written(name: string, activation: string): Promise<string> {
  const entry = (class_name: string, name: string, config: object, from?: string) => ({
    class_name,
    name,
    config: { name, ...config },
    inbound_nodes: from === undefined ? [] : [[[from, 0, 0, {}]]],
  });
  const layers = [
    entry('InputLayer', 'in', { batch_input_shape: [null, 8, 8, 3] }),
    entry('Conv2D', 'look', { filters: 4, kernel_size: 3, activation }, 'in'),
    entry('GlobalAveragePooling2D', 'mean', {}, 'look'),
    entry('Dense', 'decide', { units: 2 }, 'mean'),
  ];
  const config = { name: 'own', layers, input_layers: [['in', 0, 0]], output_layers: [['decide', 0, 0]] };
  const weights = (name: string, kernel: readonly number[]) => ({
    name,
    weights: [
      { name: 'kernel:0', tensor: noiseTensor(kernel, noise(3)) },
      { name: 'bias:0', tensor: noiseTensor(kernel.slice(-1), noise(7)) },
    ],
  });
  const bytes = await kerasBytes({
    layers: [weights('look', [3, 3, 3, 4]), weights('decide', [4, 2])],
    attributes: { model_config: JSON.stringify({ class_name: 'Functional', config }) },
  });
  writeFileSync(at(name), bytes);
  return at(name);
}

test('a whole Keras model of names that nobody knows takes its network along into .safetensors', async () => {
  const source = await written('whole.h5', 'relu');
  await convert(source, at('whole.safetensors'));
  const x = noiseTensor([1, 3, 8, 8], noise(5));
  const run = async (file: string): Promise<Tensor> => {
    await using model = await load(file);
    return (await model.run(x, ['logits'])).logits;
  };
  expect(await run(at('whole.safetensors'))).toEqual(await run(source));
});

test('one that cannot be built is copied tensor by tensor, and that is told', async () => {
  const { notes, dialect } = await convert(await written('odd.h5', 'tanh'), at('odd.safetensors'));
  expect(notes).toEqual([expect.stringContaining('no place for the network that the source describes')]);
  expect(dialect).toBeUndefined();
});
