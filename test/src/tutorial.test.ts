import { execFile, execFileSync } from 'node:child_process';
import { copyFileSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { transform } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { oracle, shared, temporaryFolder } from '../../packages/residual/dist/testing.js';
import { fences, fractions, type Piece, pieces, withoutFractions } from './tutorial.js';

const run = promisify(execFile);
const root = resolve(import.meta.dirname, '../..');
const page = readFileSync(join(root, 'docs/tutorial.md'), 'utf8');
const inChinese = readFileSync(join(root, 'docs/tutorial.zh-CN.md'), 'utf8');
const all = pieces(page);
const programs = [...new Set(all.map(({ program }) => program))].map(
  (name) => [name, all.filter(({ program }) => program === name)] as const,
);

/** A reader's folder: the library installed, the photographs beside the programs. */
const folder = temporaryFolder();
beforeAll(() => {
  symlinkSync(join(root, 'node_modules'), join(folder.path, 'node_modules'));
  writeFileSync(join(folder.path, 'package.json'), '{ "type": "module" }');
  const samples = join(root, 'packages/cli/samples');
  for (const file of readdirSync(samples)) copyFileSync(join(samples, file), join(folder.path, file));
});
afterAll(folder.remove);

/** Runs the pieces of one program, as one module, and compares what each prints with the page. */
async function check(program: string, selected: readonly Piece[]): Promise<void> {
  const end = '--- end of a piece ---';
  const source = selected.map(({ code }) => `${code}\nconsole.log('${end}');\n`).join('');
  const { code } = await transform(source, { loader: 'ts', format: 'esm', target: 'node20' });
  const file = join(folder.path, program.replace(/ts$/, 'js'));
  writeFileSync(file, code);
  const { stdout, stderr } = await run(process.execPath, [file], { cwd: folder.path });
  expect(stderr).toBe('');
  const outputs = stdout.split(`${end}\n`);
  expect(outputs).toHaveLength(selected.length + 1);
  selected.forEach(({ output: expected }, i) => {
    const received = outputs[i].trimEnd();
    expect(withoutFractions(received)).toBe(withoutFractions(expected));
    const values = fractions(expected);
    fractions(received).forEach(({ value }, k) => {
      const one = 10 ** -values[k].digits;
      expect(Math.abs(value - values[k].value), `${value} for ${values[k].value}`).toBeLessThan(1.01 * one);
    });
  });
}

describe('docs/tutorial.md', () => {
  test('every fence of the page is one that is run', () => {
    expect(fences(page)).toBe(all.length + all.filter(({ output }) => output !== '').length);
    expect(all.every(({ program }) => program !== '')).toBe(true);
  });

  test('TypeScript accepts every program', () => {
    for (const [program, parts] of programs)
      writeFileSync(join(folder.path, program), parts.map(({ code }) => code).join(''));
    const options = { noEmit: true, composite: false, declaration: false, sourceMap: false };
    const tsconfig = { extends: join(root, 'tsconfig.base.json'), compilerOptions: options, include: ['*.ts'] };
    writeFileSync(join(folder.path, 'tsconfig.json'), JSON.stringify(tsconfig));
    const tsc = join(root, 'node_modules/typescript/bin/tsc');
    let errors = '';
    try {
      execFileSync(process.execPath, [tsc, '-p', folder.path], { encoding: 'utf8' });
    } catch (error) {
      errors = (error as { stdout: string }).stdout;
    }
    expect(errors).toBe('');
  });

  const offline = programs
    .map(([program, parts]) => [program, parts.filter(({ needsWeights }) => !needsWeights)] as const)
    .filter(([, parts]) => parts.length > 0);
  test.each(offline)('%s prints what the page says', async (program, parts) => {
    await check(program, parts);
    if (program === 'network.ts')
      // Made by section 6: copy it to docs/ when drawings have changed.
      expect(readFileSync(join(folder.path, 'resnet50.svg'), 'utf8')).toBe(
        readFileSync(join(root, 'docs/resnet50.svg'), 'utf8'),
      );
  });
});

describe.skipIf(!shared)('docs/tutorial.md, the pieces that need weights', () => {
  const material = shared as string;

  beforeAll(() => {
    const cache = join(folder.path, 'weights');
    execFileSync(join(material, 'make-weights'), [cache], { stdio: 'ignore' });
    // The published file's names, order and shapes with random numbers; the small picture makes the oracle fast.
    oracle('keras_oracle.py', 'keras2015', cache, '--size', '64');
    for (const [name, target] of Object.entries({
      'resnet50.pth': join(cache, 'resnet50-pqf.pth'),
      'resnet50_weights_tf_dim_ordering_tf_kernels.h5': join(cache, 'keras2015.h5'),
      'resnet20-12fca82f.th': join(material, 'weights/resnet20-12fca82f.th'),
      'elephant.jpg': join(material, 'data/samples/elephant.jpg'),
    }))
      symlinkSync(target, join(folder.path, name));
  }, 120_000);

  const whole = programs.filter(([, parts]) => parts.some(({ needsWeights }) => needsWeights));
  test.each(whole)('%s prints what the page says', check);
});

describe('docs/tutorial.zh-CN.md', () => {
  test('has the same code, the same outputs and as many sections', () => {
    expect(pieces(inChinese)).toEqual(all);
    const sections = (text: string) => text.match(/^## /gm)?.length;
    expect(sections(inChinese)).toBe(sections(page));
  });

  test('names the same numbers, in the prose too', () => {
    const numbers = (text: string) => text.match(/\d+[.,]\d+/g)?.sort();
    expect(numbers(inChinese)).toEqual(numbers(page));
  });
});

test.each(['README.md', 'README.zh-CN.md', 'packages/residual/README.md'])(
  '%s: its example prints what it says',
  async (name) => {
    const readme = pieces(readFileSync(join(root, name), 'utf8'));
    expect(readme).toHaveLength(1);
    await check(`readme-${name.length}.ts`, readme);
  },
);
