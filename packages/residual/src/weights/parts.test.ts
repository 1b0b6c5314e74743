import { describe, expect, test } from 'vitest';
import { initialise } from '../models/initialise.js';
import { build } from '../models/resnet.js';
import { inspect } from '../tasks/inspect.js';
import { load } from '../tasks/load.js';
import { sizeOf, type Tensor, tensor } from '../tensor.js';
import { refusal, runPython, scratch, shared } from '../testing.js';
import { openCheckpoint } from './open.js';
import { choosePart } from './parts.js';
import { safetensorsBytes } from './safetensors.js';

const network = build('resnet20');
const weightsOf = (seed: number) => initialise(network, { seed });
const first = (weights: ReadonlyMap<string, Tensor>) => weights.get('conv1.weight')?.data;

/** A file of several sets of weights, each below its key, and other tensors. */
function fileOf(sets: Record<string, number>, more: Record<string, Tensor> = {}): Uint8Array {
  const all = Object.entries(sets).flatMap(([key, seed]) =>
    [...weightsOf(seed)]
      // DINO trains without a classifier.
      .filter(([name]) => !(key.endsWith('.backbone') && name.startsWith('fc.')))
      .map(([name, value]): [string, Tensor] => [`${key}.${name}`, value]),
  );
  return new Uint8Array(Buffer.concat([...safetensorsBytes([...all, ...Object.entries(more)])]));
}

const one = tensor([1], [1]);
const moments = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`optimizer.state.${i}.exp_avg`, one]));

describe('of several sets of weights one is taken', () => {
  test.each<[string, Record<string, number>, string]>([
    ['timm', { state_dict: 1, state_dict_ema: 2 }, 'state_dict_ema'],
    ['torchvision', { model: 1, 'model_ema.module': 2 }, 'model_ema'],
    ['DINO', { student: 1, 'teacher.backbone': 2 }, 'teacher'],
    ['OpenMMLab, whose average is state_dict', { ema_state_dict: 1, state_dict: 2 }, 'state_dict'],
  ])('%s', async (_, sets, part) => {
    const file = fileOf(sets, { ...moments, [`${part}.n_averaged`]: one });
    await using model = await load(file);
    expect(first(await model.weights())).toEqual(first(weightsOf(2)));
    const [, other] = [part, ...Object.keys(sets).map((key) => key.split('.')[0])].filter(
      (key, i) => i === 0 || key !== part,
    );
    expect(model.notes[0]).toContain(`took "${part}"`);
    expect(model.notes[0]).toContain(`the option part takes another: "${other}"`);
    expect(model.notes.join('\n')).toContain('left out what is no part of the weights: optimizer (300 tensors)');
    expect(model.notes.join('\n')).not.toContain('have no place');
    expect(model.report?.unexpected).toEqual([]);
    await using asked = await load(file, { part: other });
    expect(first(await asked.weights())).toEqual(first(weightsOf(1)));
  });

  test('the one set beside an optimiser; nothing is said of a choice', async () => {
    await using model = await load(fileOf({ model: 1 }, moments));
    expect(first(await model.weights())).toEqual(first(weightsOf(1)));
    expect(model.notes.filter((note) => note.includes('several sets'))).toEqual([]);
    expect(model.notes[0]).toContain('optimizer (300 tensors)');
  });

  test('a path of dictionaries names a set too; what is not there is an error', async () => {
    const file = fileOf({ 'state_dict.student': 1, 'state_dict.teacher': 2 });
    await using model = await load(file, { part: 'state_dict.student' });
    expect(first(await model.weights())).toEqual(first(weightsOf(1)));
    expect(await refusal(load(file, { part: 'state_dct' }))).toMatchObject({
      code: 'UNKNOWN_NAME',
      message: expect.stringContaining('did you mean "state_dict"?'),
    });
    const plain = Buffer.concat([...safetensorsBytes(weightsOf(1))]);
    expect(await refusal(load(plain, { part: 'nope' }))).toMatchObject({
      code: 'UNKNOWN_NAME',
      message: 'no part "nope": the file holds one set of weights; leave part out',
    });
    // Sets that nobody knows the names of are sets.
    expect(await refusal(load(fileOf({ generator: 1, critic: 2 }), { part: 'generatr' }))).toMatchObject({
      message: expect.stringContaining('did you mean "generator"?'),
    });
  });

  test('weights by themselves stay as they are, whatever stands beside them', async () => {
    const names = [...weightsOf(1)];
    const file = Buffer.concat([...safetensorsBytes([...names, ['ema.decay', one]])]);
    const checkpoint = await openCheckpoint(file);
    expect(choosePart(checkpoint)).toEqual({ checkpoint, others: [], leftOut: [] });
    const whole = await openCheckpoint(fileOf({ state_dict: 1 }));
    expect(choosePart(whole).checkpoint).toBe(whole);
  });

  test('inspect says which is taken', async () => {
    const learnt = network.parameters
      .filter(({ name }) => !name.includes('running'))
      .reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    expect(await inspect(fileOf({ model: 1, 'model_ema.module': 2 }, moments))).toMatchObject({
      architecture: 'resnet20',
      part: 'model_ema',
      prefix: 'model_ema.module.',
      otherParts: [{ name: 'model', tensors: network.parameters.length }],
      leftOut: [{ name: 'optimizer', tensors: 300 }],
      parameters: learnt,
    });
    expect(await inspect(fileOf({ model: 1, 'model_ema.module': 2 }, moments), { part: 'model' })).toMatchObject({
      part: 'model',
      prefix: 'model.',
      otherParts: [{ name: 'model_ema' }],
      parameters: learnt,
    });
  });
});

/** What timm's and torchvision's training programs save, and classes that real checkpoints name. */
const training = `
import torch, argparse, datetime, pathlib, types, collections
folder = sys.argv[1]
def foreign(name, base):
    module, _, kind = name.rpartition('.')
    for i in range(module.count('.') + 1): sys.modules.setdefault('.'.join(module.split('.')[:i + 1]), types.ModuleType(module))
    found = sys.modules[module]; made = type(kind, (base,), {'__module__': module})
    setattr(found, kind, made); return made
net = torch.nn.Sequential(collections.OrderedDict(conv1=torch.nn.Conv2d(3, 4, 3), bn1=torch.nn.BatchNorm2d(4)))
optimizer = torch.optim.AdamW(net.parameters()); scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [3, 5])
net(torch.ones(2, 3, 8, 8)).sum().backward(); optimizer.step()
args = argparse.Namespace(lr=0.1, output=pathlib.PosixPath('/runs/one'), device=torch.device('cuda'), betas=(0.9, 0.99), opt=None,
                          inner=argparse.Namespace(deep=True), counts=np.arange(5), best=np.float32(0.5), when=types.SimpleNamespace(year=2024))
config = foreign('yacs.config.CfgNode', dict)(MODEL=foreign('easydict.EasyDict', dict)(DEPTH=50)); config.__dict__['__immutable__'] = False
ema = torch.optim.swa_utils.AveragedModel(net)
saved = {'model': net.state_dict(), 'model_ema': ema.state_dict(), 'optimizer': optimizer.state_dict(), 'lr_scheduler': scheduler.state_dict(),
         'scaler': {'scale': 65536.0}, 'epoch': 7, 'args': args, 'config': config, 'history': collections.deque([1.5, 2.5]),
         'began': datetime.datetime(2024, 5, 1, 12, 30, 0, 250, datetime.timezone(datetime.timedelta(hours=-2, minutes=-30))),
         'ended': datetime.datetime(2024, 12, 31, 23, 59, 59), 'zulu': datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc),
         'day': datetime.date(1999, 1, 2), 'clock': datetime.time(7, 8, 9), 'took': datetime.timedelta(days=1, seconds=2, microseconds=500000),
         'version': torch.torch_version.TorchVersion('2.1.0')}
for protocol in (2, 4): torch.save(saved, f'{folder}/run{protocol}', pickle_protocol=protocol)
torch.save(saved, f'{folder}/run-legacy', _use_new_zipfile_serialization=False)
class Run(list):
    def __reduce__(self): return self[0], tuple(self[1:])
for name, call in (('system', Run([os.system, f'touch {folder}/executed'])), ('eval', Run([eval, '1'])), ('getattr', Run([getattr, 'a', 'b'])),
                   ('unknown', foreign('mycode.trainer.State', object)())):
    torch.save({'model': net.state_dict(), 'args': argparse.Namespace(x=call)}, f'{folder}/{name}')
`;

describe.skipIf(!shared)('training checkpoints as torch.save writes them', () => {
  const folder = scratch();
  if (shared) runPython(training, folder);

  test.each(['run2', 'run4', 'run-legacy'])('%s: classes that only hold data become data', async (name) => {
    const checkpoint = await openCheckpoint(`${folder}/${name}`);
    expect(checkpoint.metadata).toMatchObject({
      epoch: 7,
      'args.lr': 0.1,
      'args.output': '/runs/one',
      'args.device': 'cuda',
      'args.betas': [0.9, 0.99],
      'args.opt': null,
      'args.inner.deep': true,
      'args.counts': ['numpy array'],
      'args.best': 0.5,
      'args.when.year': 2024,
      'config.MODEL.DEPTH': 50,
      history: [1.5, 2.5],
      version: '2.1.0',
      began: '2024-05-01T12:30:00.000250-02:30',
      ended: '2024-12-31T23:59:59',
      zulu: '2024-01-02T00:00:00+00:00',
      day: '1999-01-02',
      clock: '07:08:09',
      took: 86_402.5,
      'lr_scheduler.milestones.3': 1,
    });
    const { checkpoint: taken, part, others, leftOut } = choosePart(checkpoint);
    expect([part, others, leftOut.map((found) => found.name)]).toEqual([
      'model_ema',
      [{ name: 'model', tensors: 7 }],
      ['optimizer'],
    ]);
    expect([...taken.tensors.keys()][0]).toBe('model_ema.module.conv1.weight');
    await checkpoint.close();
  });

  test.each([
    ['system', 'posix.system'],
    ['eval', '__builtin__.eval'],
    ['getattr', '__builtin__.getattr'],
    ['unknown', 'mycode.trainer.State'],
  ])('%s inside a namespace is refused by name', async (name, global) => {
    expect(await refusal(openCheckpoint(`${folder}/${name}`))).toMatchObject({
      code: 'WEIGHTS_UNSAFE',
      details: { global },
    });
  });
});
