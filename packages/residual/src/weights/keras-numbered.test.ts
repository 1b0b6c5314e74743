import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { load } from '../tasks/load.js';
import { oracle, refusal, runPython, scratch, shared } from '../testing.js';
import { openCheckpoint } from './open.js';

/** An `.h5` with names as Keras 3's `save_weights` would have written it: folders by class and number. */
const renumber = `
import h5py
with h5py.File(sys.argv[1]) as old, h5py.File(sys.argv[2], 'w') as new:
    new.create_group('vars'); used = {}
    for layer in old.attrs['layer_names']:
        names = list(old[layer].attrs['weight_names']); kind = {4: 'batch_normalization', 0: 'activation'}.get(len(names))
        arrays = [old[layer][name][()] for name in names]
        kind = kind or ('dense' if arrays[0].ndim == 2 else 'conv2d')
        used[kind] = used.get(kind, -1) + 1
        group = new.create_group(f'layers/{kind}_{used[kind]}/vars' if used[kind] else f'layers/{kind}/vars')
        for i, array in enumerate(arrays): group[str(i)] = array
`;

describe.skipIf(!shared)('weights of Keras 3 without names', () => {
  test.each([
    ['resnet50', 'keras-resnet50'],
    ['resnet50v2', 'keras-resnet50v2'],
  ])('%s fills %s by the order of the layers', async (topology, architecture) => {
    const folder = scratch();
    oracle('keras_oracle.py', topology, folder, '--size', '64');
    const [named, bare] = [join(folder, `${topology}.h5`), join(folder, `${topology}.weights.h5`)];
    runPython(renumber, named, bare);
    await using expected = await load(named);
    await using model = await load(bare, { architecture });
    expect(model.report).toMatchObject({ missing: [], unexpected: [], misshapen: [] });
    expect(model.record.preprocess).toBe(expected.record.preprocess);
    const weights = await model.weights();
    for (const [name, { data }] of await expected.weights())
      expect(Buffer.compare(Buffer.from(data.buffer), Buffer.from(weights.get(name)!.data.buffer)), name).toBe(0);
    const checkpoint = await openCheckpoint(bare);
    expect(checkpoint.numbered).toBe(true);
    await checkpoint.close();
    expect((await refusal(load(bare))).message).toContain('pass it as architecture');
  });
});
