import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { initialise } from '../models/initialise.js';
import { build } from '../models/resnet.js';
import { load } from '../tasks/load.js';
import { tensor } from '../tensor.js';
import { runPython, scratch, shared } from '../testing.js';
import { safetensorsBytes } from './safetensors.js';
import { writeTar } from './torch-tar.test.helper.js';

/** One set of tensors in every container that PyTorch's users have. */
const write = `
import torch, argparse, zipfile, struct
folder = sys.argv[1]
raw = open(f'{folder}/one.safetensors', 'rb').read(); length = struct.unpack('<Q', raw[:8])[0]
header = json.loads(raw[8:8 + length]); header.pop('__metadata__', None); data = raw[8 + length:]
state = {name: torch.from_numpy(np.frombuffer(data[a:b], 'f4').reshape(t['shape']).copy()) for name, t in header.items() for a, b in [t['data_offsets']]}
other = {name: t + 1 for name, t in state.items()}
torch.save(state, f'{folder}/zip.pth'); torch.save({'state_dict': {f'module.{n}': t for n, t in state.items()}}, f'{folder}/legacy.pth', _use_new_zipfile_serialization=False)
with zipfile.ZipFile(f'{folder}/zip.pth') as a, zipfile.ZipFile(f'{folder}/deflated.pth', 'w', zipfile.ZIP_DEFLATED) as b:
    for name in a.namelist(): b.writestr(name, a.read(name))
optimizer = {'state': {i: {'exp_avg': torch.zeros(3)} for i in range(200)}, 'param_groups': [{'lr': 0.1}]}
torch.save({'model': other, 'model_ema': {f'module.{n}': t for n, t in state.items()}, 'optimizer': optimizer, 'args': argparse.Namespace(lr=0.1)}, f'{folder}/training.pth')
strides = lambda t: tuple(t.stride())
write_tar(f'{folder}/tar.pth', {n: (2000 + i, 'Float', tuple(t.shape), strides(t), 0, False) for i, (n, t) in enumerate(state.items())},
          {2000 + i: ('Float', t.numpy().tobytes()) for i, t in enumerate(state.values())})
names = list(state); parts = {f'pytorch_model-0000{k + 1}-of-00003.bin': names[k::3] for k in range(3)}
for file, inside in parts.items(): torch.save({n: state[n] for n in inside}, f'{folder}/sharded/{file}')
json.dump({'metadata': {}, 'weight_map': {n: file for file, inside in parts.items() for n in inside}}, open(f'{folder}/sharded/pytorch_model.bin.index.json', 'w'))
`;

describe.skipIf(!shared)('one set of tensors', () => {
  const folder = scratch();
  mkdirSync(join(folder, 'sharded'));
  const weights = initialise(build('resnet20'), { seed: 3 });
  writeFileSync(join(folder, 'one.safetensors'), Buffer.concat([...safetensorsBytes(weights)]));
  if (shared) runPython(writeTar + write, folder);
  const picture = tensor(
    Float32Array.from({ length: 3 * 32 * 32 }, (_, i) => ((i * 7919) % 256) / 128 - 1),
    [1, 3, 32, 32],
  );
  const logits = async (name: string) => {
    await using model = await load(join(folder, name), { engine: 'reference' });
    return (await model.predict(picture)).data;
  };
  const expected = shared ? logits('one.safetensors') : undefined;

  test.each(['zip.pth', 'deflated.pth', 'legacy.pth', 'tar.pth', 'training.pth', 'sharded'])(
    'gives the same logits to the last bit out of %s',
    async (name) => {
      const found = await logits(name);
      expect(found).toEqual(await expected);
      expect(new Set(found).size).toBe(10);
    },
  );
});
