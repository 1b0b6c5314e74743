import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Shell, shells } from './flags.js';
import { residual } from './running.js';

let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'residual-completion-'));
  for (const shell of shells) {
    const { status, out, err } = await residual('completion', shell);
    expect({ status, err }).toEqual({ status: 0, err: '' });
    writeFileSync(join(folder, `residual.${shell}`), out);
  }
  writeFileSync(join(folder, 'weights.pth'), '');
});
afterAll(() => rmSync(folder, { recursive: true }));

const has = (program: string) => spawnSync(program, ['--version']).status === 0;

/** A test that is skipped, and says so in its name, where there is no such shell. */
const testIn = (shell: Shell, title: string, run: () => void) =>
  test.skipIf(!has(shell))(has(shell) ? title : `${title}: ${shell} is not installed`, run);

const start = { bash: 'bash --norc --noprofile -i', zsh: 'zsh -f -i' } as const;

/** What a person sees who types keys into an interactive shell; `residual` only says how it was called. */
function screen(shell: keyof typeof start, keys: string): string {
  const compinit = shell === 'zsh' ? 'autoload -Uz compinit; compinit -u -D;' : '';
  const setup = `cd ${folder}; ${compinit} source residual.${shell}; residual() { printf '[%s]' "$@"; }; PS1=''`;
  return execFileSync('script', ['-qec', start[shell], '/dev/null'], {
    input: `${setup}\n${keys}\nexit 0\n`,
    env: { ...process.env, TERM: 'dumb', COLUMNS: '200' },
    encoding: 'utf8',
  });
}

describe.each(['bash', 'zsh'] as const)('%s', (shell) => {
  testIn(shell, 'completes what is unique: verb, flag, word, model, file', () => {
    const seen = screen(
      shell,
      [
        'residual cl\t',
        'residual classify --en\t',
        'residual classify --engine ref\t',
        'residual classify --preprocess torchvision-v\t',
        'residual classify --model resnet16-c\t',
        'residual convert --dialect hug\t',
        'residual classify -w weig\t',
        'residual classify weig\t',
        'residual help insp\t',
        'residual completion f\t',
      ].join('\n'),
    );
    for (const call of [
      '[classify]',
      '[classify][--engine]',
      '[classify][--engine][reference]',
      '[classify][--preprocess][torchvision-v2]',
      '[classify][--model][resnet16-cifar10]',
      '[convert][--dialect][huggingface]',
      '[classify][-w][weights.pth]',
      '[classify][weights.pth]',
      '[help][inspect]',
      '[completion][fish]',
    ])
      expect(seen).toContain(call);
  });

  testIn(shell, 'lists the words of a flag, and no files where none is taken', () => {
    const engines = screen(shell, 'residual classify --engine \t\t');
    for (const engine of ['auto', 'onnx', 'onednn', 'reference']) expect(engines).toContain(engine);
    expect(engines).not.toContain('weights.pth');
    expect(screen(shell, 'residual doctor weig\t')).not.toContain('[doctor][weights.pth]');
  });
});

testIn('bash', 'completes after an equals sign, too', () => {
  expect(screen('bash', 'residual classify --engine=ref\t')).toContain('[classify][--engine=reference]');
});

describe('fish', () => {
  const complete = (line: string) =>
    execFileSync('fish', ['--no-config', '-c', `cd ${folder}; source residual.fish; complete -C '${line}'`], {
      encoding: 'utf8',
    })
      .trim()
      .split('\n');
  const words = (line: string) => complete(line).map((row) => row.split('\t')[0]);

  testIn('fish', 'completes verbs, flags with their help, words and files', () => {
    expect(complete('residual cl')).toEqual(['classify\tsay what photographs show: files, folders or globs']);
    expect(words('residual classify --en')).toEqual(['--engine']);
    expect(complete('residual classify --engin')).toEqual(['--engine\tauto, onnx, onednn or reference']);
    expect(complete('residual classify --engine ').sort()).toEqual(['auto', 'onednn', 'onnx', 'reference']);
    expect(words('residual classify --model resnet16-c')).toEqual(['resnet16-cifar10']);
    expect(words('residual convert --dialect hug')).toEqual(['huggingface']);
    expect(words('residual classify -w weig')).toEqual(['weights.pth']);
    expect(words('residual classify weig')).toEqual(['weights.pth']);
    expect(words('residual doctor weig')).toEqual(['']);
    expect(words('residual completion ').sort()).toEqual(['bash', 'fish', 'zsh']);
  });
});

test('another shell is refused', async () => {
  expect(await residual('completion', 'bsah')).toEqual({
    status: 2,
    out: '',
    err: 'residual: [UNKNOWN_NAME] unknown shell "bsah"; did you mean "bash"?\n',
  });
});
