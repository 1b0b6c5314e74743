import { execFileSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bytesOf, describeAll, type Expected, pythonJson, refusal, runPython, scratch, shared } from '../testing.js';
import { openCheckpoint } from './open.js';

const ascii = (text: string) => Uint8Array.from(text, (c) => c.charCodeAt(0));
const u32 = (n: number) => String.fromCharCode(n & 255, (n >> 8) & 255, (n >> 16) & 255, n >>> 24);
const str = (text: string) => `X${u32(text.length)}${text}`;
const int = (n: number | bigint) => `L${n}L\n`;

/** The legacy container around one pickled object (opcodes without protocol and stop). */
function legacy(object: string, keys: string[] = [], storages = ''): Uint8Array {
  const magic = '\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.';
  return ascii(
    `${magic}\x80\x02M\xe9\x03.\x80\x02}.\x80\x02${object}.\x80\x02](${keys.map(str).join('')}e.${storages}`,
  );
}

const storage = (key: string, count: number | bigint, type = 'FloatStorage') =>
  `(${str('storage')}ctorch\n${type}\n${str(key)}${str('cpu')}${int(count)}NtQ`;

/** Opcodes of a tensor. */
const tensor = (
  run: string,
  offset: number | bigint,
  shape: (number | bigint)[],
  stride: (number | bigint)[],
  bits = '',
) =>
  `ctorch._utils\n_rebuild_tensor_v2\n(${run}${int(offset)}(${shape.map(int).join('')}t(${stride.map(int).join('')}t\x89ccollections\nOrderedDict\n)R${bits}tR`;

const dict = (entries: Record<string, string>) =>
  `}(${Object.entries(entries)
    .map(([key, value]) => str(key) + value)
    .join('')}u`;

/** Four floats 1, 2, 3, 4 as a storage of the legacy container. */
const fourFloats = '\x04\0\0\0\0\0\0\0\0\0\x80\x3f\0\0\0\x40\0\0\x40\x40\0\0\x80\x40';

describe('the legacy container', () => {
  test('numbers that are to be negated when they are read are refused, not read with the wrong sign', async () => {
    const file = (bits: string) => legacy(dict({ a: tensor(storage('7', 4), 0, [4], [1], bits) }), ['7'], fourFloats);
    const tell = (bits: Record<string, string>) => openCheckpoint(file(dict(bits)));
    expect((await tell({})).tensors.has('a')).toBe(true);
    expect((await tell({ neg: '\x89' })).tensors.has('a')).toBe(true);
    await expect(tell({ neg: '\x88' })).rejects.toThrow(/_rebuild_tensor_v2/);
  });

  test('reads views of one storage: whole, turned, shifted, repeated, empty, scalar', async () => {
    const four = storage('7', 4);
    const checkpoint = await openCheckpoint(
      legacy(
        dict({
          whole: tensor(four, 0, [2, 2], [2, 1]),
          turned: tensor(four, 0, [2, 2], [1, 2]),
          shifted: tensor(four, 1, [2], [2]),
          repeated: tensor(four, 3, [3, 1], [0, 5]),
          empty: tensor(four, 4, [0, 3], [3, 1]),
          nested: dict({ scalar: tensor(four, 2, [], []), epoch: 'K\x05', rates: '(G?\xf0\0\0\0\0\0\0K\x02l' }),
        }),
        ['7'],
        fourFloats,
      ),
    );
    expect(checkpoint).toMatchObject({
      format: 'torch-legacy',
      metadata: { 'nested.epoch': 5, 'nested.rates': [1, 2] },
    });
    const values = async (name: string) => Array.from((await checkpoint.read(name)).data as Float32Array);
    expect([...checkpoint.tensors.keys()]).toEqual([
      'whole',
      'turned',
      'shifted',
      'repeated',
      'empty',
      'nested.scalar',
    ]);
    expect(await values('whole')).toEqual([1, 2, 3, 4]);
    expect(await values('turned')).toEqual([1, 3, 2, 4]);
    expect(await values('shifted')).toEqual([2, 4]);
    expect(await values('repeated')).toEqual([4, 4, 4]);
    expect(await values('empty')).toEqual([]);
    expect(await values('nested.scalar')).toEqual([3]);
    expect((await checkpoint.read('whole')).data.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(await refusal(checkpoint.read('hole'))).toMatchObject({
      code: 'UNKNOWN_NAME',
      message: 'unknown tensor "hole"; did you mean "whole"?',
    });
  });

  test('a later entry of the same key replaces the earlier one', async () => {
    const checkpoint = await openCheckpoint(legacy(`}(${str('a')}K\x01${str('a')}K\x02u`));
    expect(checkpoint.metadata).toEqual({ a: 2 });
  });

  const bad = (run: string, offset: number | bigint, shape: (number | bigint)[], stride: (number | bigint)[]) =>
    legacy(dict({ w: tensor(run, offset, shape, stride) }), ['7'], fourFloats);
  test.each([
    ['a view beyond its storage', bad(storage('7', 4), 1, [4], [1]), /w ends at element 5 of its storage, which has 4/],
    ['a stride beyond it', bad(storage('7', 4), 0, [2], [4]), /w ends at element 5/],
    ['sizes whose product overflows', bad(storage('7', 4), 0, [2n ** 40n, 2n ** 40n], [0, 0]), /w ends/],
    ['a view repeated 2^40 times', bad(storage('7', 4), 0, [2n ** 40n], [0]), /claim 4398046511104 bytes/],
    ['a size beyond 2^63', bad(storage('7', 4), 0, [2n ** 70n], [0]), /makes no sense/],
    ['a negative stride', bad(storage('7', 4), 3, [4], [-1]), /makes no sense/],
    ['shape and stride of other ranks', bad(storage('7', 4), 0, [2, 2], [1]), /makes no sense/],
    [
      'a storage that is not in the file',
      bad(storage('8', 4), 0, [4], [1]),
      /holds a storage 7 that its pickle does not know/,
    ],
    [
      'a wider type than the file holds',
      bad(storage('7', 4, 'DoubleStorage'), 0, [4], [1]),
      /should have 4 elements \(32 bytes\) but 16 bytes are left/,
    ],
    [
      'elements without end',
      legacy(dict({ w: tensor(storage('7', 4), 0, [4], [1]) }), ['7'], '\xff\xff\xff\xff\xff\xff\xff\x7f'),
      /but 0 bytes are left/,
    ],
    [
      'fewer than no elements',
      legacy(dict({ w: tensor(storage('7', 4), 0, [4], [1]) }), ['7'], '\xff\xff\xff\xff\xff\xff\xff\xff'),
      /should have -1 elements/,
    ],
    [
      'a storage list that is none',
      ascii(`${String.fromCharCode(...legacy('N'))}`.replace('\x80\x02](e.', '\x80\x02K\x01.')),
      /list of storages is missing/,
    ],
    ['os.system', legacy(`cos\nsystem\n(${str('touch /tmp/never')}tR`), /names os\.system/],
    ['lists a million deep', legacy(']'.repeat(1e6 - 1) + 'a'.repeat(1e6 - 2)), /nests more than 64 deep/],
    ['a list that holds itself', legacy(']q\0h\0a'), /nests more than 64 deep or holds itself/],
    ['a dictionary that holds itself', legacy(`}q\0${str('me')}h\0s`), /holds itself/],
    [
      'a memo bomb',
      legacy(
        `(K\x01Ntq\0${Array.from({ length: 40 }, (_, i) => `0(${`h${String.fromCharCode(i)}`.repeat(10)}tq${String.fromCharCode(i + 1)}`).join('')}`,
      ),
      /unfolds to more than 1000000 values/,
    ],
    [
      'a memo bomb of dictionaries',
      legacy(
        `}q\0${Array.from({ length: 40 }, (_, i) => `0}(${Array.from({ length: 9 }, (_, k) => str(`k${k}`) + `h${String.fromCharCode(i)}`).join('')}uq${String.fromCharCode(i + 1)}`).join('')}`,
      ),
      /unfolds to more than 1000000 values/,
    ],
    [
      'a path of paths',
      legacy(
        `${str('a'.repeat(9))}q\0${Array.from({ length: 40 }, (_, i) => `0cpathlib\nPosixPath\n(${`h${String.fromCharCode(i)}`.repeat(2)}tRq${String.fromCharCode(i + 1)}`).join('')}`,
      ),
      /a call of pathlib\.PosixPath that makes no sense/,
    ],
    ['a name without end', legacy(`}${str('a'.repeat(5000))}K\x01s`), /more than 1000 characters/],
    [
      'another protocol',
      ascii(String.fromCharCode(...legacy('N')).replace('M\xe9\x03', 'M\xe9\x04')),
      /container has version 1257/,
    ],
    [
      'a big-endian machine',
      ascii(String.fromCharCode(...legacy('N')).replace('\x80\x02}.', `\x80\x02}${str('little_endian')}\x89s.`)),
      /big-endian/,
    ],
  ])('refuses %s', async (_, bytes, message) => {
    const error = await refusal(openCheckpoint(bytes));
    expect(error.message).toMatch(message);
    expect(error.code).toBe(message.source.includes('names os') ? 'WEIGHTS_UNSAFE' : 'WEIGHTS_FORMAT');
  });
});

/** Writes one dictionary of odd tensors in both containers and says what PyTorch reads back. */
const zoo = `
import torch
folder = sys.argv[1]
torch.manual_seed(1)
base = torch.arange(24, dtype=torch.float32)
conv = torch.nn.Conv2d(3, 4, 3)
from collections import OrderedDict, defaultdict
import argparse
content = {
  'state_dict': OrderedDict([('module.' + k, v) for k, v in torch.nn.Sequential(conv, torch.nn.BatchNorm2d(4)).state_dict().items()]),
  'types': {str(t)[6:]: torch.arange(-3, 4).to(t) for t in (torch.float64, torch.float32, torch.float16, torch.bfloat16,
            torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)},
  'views': {'turned': base.view(4, 6).t(), 'tail': base[20:], 'middle': base.view(2, 3, 4)[:, 1:, ::2], 'expanded': base[:3].expand(5, 3),
            'channels_last': torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last), 'scalar': torch.tensor(7), 'empty': torch.zeros(0, 4)},
  'parameter': torch.nn.Parameter(torch.randn(3)),
  'list': [torch.ones(1), torch.ones(2)],
  'epoch': 90, 'best': np.float64(76.5), 'count': np.int64(3), 'arch': 'resnet50', 'big': 2 ** 80, 'none': None, 'device': torch.device('cuda', 1),
  'size': torch.Size([1, 2]), 'dtype': torch.float16, 'rates': (0.1, 0.01), 'names': {'b'}, 'raw': b'abc', 'args': argparse.Namespace(lr=0.1, name='x'),
  'default': defaultdict(int, {'a': 1}), 0: 'zero',
}
model = torch.nn.Linear(3, 2); optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
model(torch.ones(1, 3)).sum().backward(); optimizer.step()
content['optimizer'] = optimizer.state_dict()
for protocol in (2, 3, 4, 5):
    torch.save(content, f'{folder}/zip{protocol}.pth', pickle_protocol=protocol)
    torch.save(content, f'{folder}/legacy{protocol}.pth', pickle_protocol=protocol, _use_new_zipfile_serialization=False)
torch.jit.script(conv).save(f'{folder}/script.pt')
torch.save(conv, f'{folder}/model.pth')
class Evil:
    def __reduce__(self): return os.system, (f'touch {folder}/executed',)
torch.save({'state_dict': Evil()}, f'{folder}/evil.pth')
expected = {}
def walk(path, value):
    if isinstance(value, torch.Tensor): expected[path] = of_torch(value)
    elif isinstance(value, dict):
        for key, child in value.items(): walk(f'{path}.{key}' if path else str(key), child)
    elif isinstance(value, list):
        for key, child in enumerate(value): walk(f'{path}.{key}', child)
walk('', content)
print(json.dumps(expected))
`;

const readBack = `
import torch
def walk(path, value):
    if isinstance(value, torch.Tensor): expected[path] = of_torch(value)
    elif isinstance(value, dict):
        for key, child in value.items(): walk(f'{path}.{key}' if path else str(key), child)
everything = {}
for path in sys.argv[1:]:
    expected = everything[path] = {}
    walk('', torch.load(path, map_location='cpu'))
print(json.dumps(everything))
`;

describe.skipIf(!shared)('what PyTorch wrote', () => {
  const folder = scratch();
  const expected = shared ? pythonJson<Expected>(zoo, folder) : {};

  test.each(['zip2', 'zip3', 'zip4', 'zip5', 'legacy2', 'legacy3', 'legacy4', 'legacy5'])(
    '%s reads as PyTorch reads it',
    async (name) => {
      const checkpoint = await openCheckpoint(join(folder, `${name}.pth`));
      expect(checkpoint.format).toBe(name.startsWith('zip') ? 'torch-zip' : 'torch-legacy');
      expect(await describeAll(checkpoint)).toEqual(expected);
      expect([...checkpoint.tensors.keys()].filter((key) => key.startsWith('state_dict')).slice(0, 3)).toEqual([
        'state_dict.module.0.weight',
        'state_dict.module.0.bias',
        'state_dict.module.1.weight',
      ]);
      expect(checkpoint.metadata).toMatchObject({
        epoch: 90,
        best: 76.5,
        count: 3,
        arch: 'resnet50',
        big: (2n ** 80n).toString(),
        none: null,
        device: 'cuda:1',
        size: [1, 2],
        dtype: 'torch.float16',
        rates: [0.1, 0.01],
        names: ['b'],
        raw: '3 bytes',
        'args.lr': 0.1,
        'args.name': 'x',
        'default.a': 1,
        '0': 'zero',
        'optimizer.param_groups.0.lr': 0.1,
      });
      await checkpoint.close();
    },
  );

  test('a zip that was deflated again reads the same', async () => {
    runPython(
      `import zipfile
with zipfile.ZipFile(sys.argv[1]) as a, zipfile.ZipFile(sys.argv[2], 'w', zipfile.ZIP_DEFLATED) as b:
    for name in a.namelist(): b.writestr(name, a.read(name))`,
      join(folder, 'zip2.pth'),
      join(folder, 'deflated.pth'),
    );
    const checkpoint = await openCheckpoint(join(folder, 'deflated.pth'));
    expect(await describeAll(checkpoint)).toEqual(expected);
    await checkpoint.close();
  });

  test('programs, whole models and hostile pickles are refused with what to do, and nothing runs', async () => {
    expect((await refusal(openCheckpoint(join(folder, 'script.pt')))).message).toContain('TorchScript');
    expect(await refusal(openCheckpoint(join(folder, 'model.pth')))).toMatchObject({
      code: 'WEIGHTS_UNSAFE',
      message: expect.stringMatching(
        /names torch\.nn\.modules\.conv\.Conv2d.*torch\.save\(model\.state_dict\(\), path\)/,
      ),
    });
    expect(await refusal(openCheckpoint(join(folder, 'evil.pth')))).toMatchObject({
      code: 'WEIGHTS_UNSAFE',
      details: { global: 'posix.system' },
    });
    expect(readdirSync(folder)).not.toContain('executed');
  });

  test('zip bombs and zips of something else are refused', async () => {
    runPython(
      `import zipfile
folder = sys.argv[1]
def zipped(name, members):
    with zipfile.ZipFile(f'{folder}/{name}', 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as z:
        for member, data in members.items(): z.writestr(member, data)
original = zipfile.ZipFile(f'{folder}/zip2.pth')
zipped('pickle-bomb.pth', {'archive/data.pkl': b'N' * 70_000_000})
with zipfile.ZipFile(f'{folder}/storage-bomb.pth', 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as z:
    z.writestr('archive/data.pkl', bytes.fromhex(sys.argv[2]))
    with z.open('archive/data/0', 'w') as member:
        for _ in range(280): member.write(bytes(1_000_000))
zipped('text.zip', {'readme.txt': b'hello'})
zipped('arrays.npz', {'a.npy': b'x'})
zipped('big-endian.pth', {**{n: original.read(n) for n in original.namelist()}, 'zip2/byteorder': b'big'})`,
      folder,
      Buffer.from(ascii(`\x80\x02${dict({ w: tensor(storage('0', 70e6), 0, [70e6], [1]) })}.`)).toString('hex'),
    );
    const message = async (name: string) => (await refusal(openCheckpoint(join(folder, name)))).message;
    expect(await message('pickle-bomb.pth')).toContain('member archive/data.pkl claims 70000000 bytes');
    expect(await message('storage-bomb.pth')).toContain('its tensors claim 280000000 bytes');
    expect(await message('text.zip')).toContain('a zip without a data.pkl');
    expect(await message('arrays.npz')).toContain('NumPy archive');
    expect(await message('big-endian.pth')).toContain('big-endian');
  }, 120_000);

  test('real checkpoints read as PyTorch reads them, resnet50-pqf.pth among them', async () => {
    const made = scratch();
    execFileSync(join(shared!, 'make-weights'), [made], { stdio: 'ignore' });
    const paths = [
      join(made, 'resnet50-pqf.pth'),
      ...['resnet20-12fca82f.th', 'resnet56-4bfd9763.th', 'pqf/resnet18.pth', 'odd/resnet2b-cifar10.zip.pth'].map(
        (name) => join(shared!, 'weights', name),
      ),
    ];
    const expected = pythonJson<Record<string, Expected>>(readBack, ...paths);
    const counts: number[] = [];
    for (const path of paths) {
      const checkpoint = await openCheckpoint(path);
      expect(await describeAll(checkpoint)).toEqual(expected[path]);
      counts.push(checkpoint.tensors.size);
      await checkpoint.close();
    }
    expect(counts).toEqual([320, 97, 277, 82, 16]);
  });

  test('the CIFAR checkpoints carry their accuracy', async () => {
    const checkpoint = await openCheckpoint(bytesOf(join(shared!, 'weights/resnet56-4bfd9763.th')));
    expect(checkpoint.metadata.best_prec1).toBeCloseTo(93.62, 5);
  });
});
