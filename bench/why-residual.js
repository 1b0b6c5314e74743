// Draws docs/why-residual.md's plots and prints its tables, from what examples/degradation.ts left:
//
//   node examples/dist/degradation.js cifar10/ results/ 4000
//   node bench/why-residual.js results/
//
// What is not in the folder yet is left out.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lines } from './plot.js';
import { markdown } from './tables.js';

const [folder] = process.argv.slice(2);
if (!folder) {
  console.error('usage: node bench/why-residual.js RESULTS');
  process.exit(2);
}
const read = (name) => {
  const file = join(folder, `${name}.json`);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : undefined;
};
const keep = (name, svg) => {
  writeFileSync(fileURLToPath(new URL(`../docs/why-residual-${name}.svg`, import.meta.url)), svg);
  console.error(`written: docs/why-residual-${name}.svg`);
};

const depths = [20, 32, 44, 56];
const gains = [0.5, 0.7, 1, 1.4, 2];
const kinds = [
  ['plain', 'bare'],
  ['residual', 'bare'],
  ['plain', 'norm'],
  ['residual', 'norm'],
];
const words = { bare: 'without BatchNorm', norm: 'with BatchNorm' };
const power = (x) => x.toExponential(1);

// The first convolution is of another shape than the rest.
for (const depth of [20, 56]) {
  const rows = kinds.map(([kind, how]) => [
    `${kind}, ${words[how]}`,
    ...gains.map((gain) => {
      const norms = read(`start-${kind}${depth}-${how}-${gain}`);
      return norms ? `${power(norms[1].norm)}, ${power(norms.at(-1).norm)}` : '–';
    }),
  ]);
  console.log(
    `Gradients of the second and of the last convolution before training, ${depth} layers:\n\n${markdown(
      ['network', ...gains.map((gain) => `gain ${gain}`)],
      rows,
    )}\n`,
  );
}
const start = kinds.flatMap(([kind, how]) =>
  (read(`start-${kind}56-${how}-1`) ?? [])
    .slice(1)
    .map(({ norm }, i) => ({ x: i + 2, y: norm, series: kind, dash: words[how] })),
);
if (start.length)
  keep(
    'start',
    await lines(start, { title: 'Gradients before training, 56 layers', x: 'layer', y: 'norm', log: true }),
  );

const curves = depths.flatMap((depth) =>
  ['plain', 'resnet'].flatMap((kind) => {
    const found = read(`${kind}${depth}`);
    return found ? [{ kind, depth, ...found }] : [];
  }),
);
if (curves.length) {
  console.log(
    markdown(
      ['layers', 'plain: training error', 'residual: training error', 'plain: loss', 'residual: loss'],
      depths.map((depth) => {
        const last = (kind) => curves.find((one) => one.kind === kind && one.depth === depth)?.rows.at(-1);
        const percent = (row) => (row ? `${(100 * row.error).toFixed(1)} %` : '–');
        const loss = (row) => row?.loss.toFixed(3) ?? '–';
        const [plain, residual] = [last('plain'), last('resnet')];
        return [`${depth}`, percent(plain), percent(residual), loss(plain), loss(residual)];
      }),
    ),
  );
  const rows = curves.flatMap(({ kind, depth, rows }) =>
    rows.map(({ update, error }) => ({ x: update, y: 100 * error, series: `${depth} layers`, dash: kind })),
  );
  keep('training', await lines(rows, { title: 'Training error on CIFAR-10', x: 'update', y: '%' }));
  const gradients = curves
    .filter(({ depth }) => depth === 56)
    .flatMap(({ kind, gradients }) =>
      gradients.flatMap(({ update, norms }) =>
        norms.slice(1).map(({ norm }, i) => ({ x: i + 2, y: norm, series: `update ${update}`, dash: kind })),
      ),
    );
  if (gradients.length)
    keep('gradients', await lines(gradients, { title: 'Gradients, 56 layers', x: 'layer', y: 'norm', log: true }));
}
