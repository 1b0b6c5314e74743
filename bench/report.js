// Writes docs/benchmarks.md, its plots and docs/benchmarks.csv from what the measurements left in bench/results:
//
//   node bench/report.js
//
// What was not measured is said to be missing. The text gives ratios; the times stand in the CSV.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { bars } from './plot.js';
import { readResults } from './results.js';
import { csv, markdown, ratio } from './tables.js';
import { targets } from './targets.js';

const docs = (name) => fileURLToPath(new URL(`../docs/${name}`, import.meta.url));
const names = ['engines', 'pictures', 'neighbour', 'start-to-exit', 'memory', 'training'];
const results = Object.fromEntries(names.map((name) => [name, readResults(name)]));
const found = Object.values(results).filter(Boolean);
if (found.length === 0) {
  console.error('bench/results is empty: run the measurements first');
  process.exit(1);
}

/** What `residual bench --json` printed. */
const alone = readResults('bench');
const unique = (values) => [...new Set(values)];
const { engines, pictures, neighbour, training } = results;
const ours = engines?.rows.some(({ name }) => name === 'onednn f32') ? 'onednn' : 'onnx';
/** The median time of a contender. */
const time = (network, name, batch) =>
  engines?.rows.find((row) => row.network === network && row.name === name && row.batch === batch)?.median;

/** Theirs over ours, in the pairs that the text compares. */
const pairs = [
  ['ort f32', `${ours} f32`, 'onnxruntime-node'],
  ['ort f32', 'onednn3 f32', 'onnxruntime-node, ours on oneDNN 3'],
  ['torch eager', `${ours} f32`, 'PyTorch, eager'],
  ['torch jit', `${ours} f32`, 'PyTorch, optimised'],
  ['ort-web f32', `${ours} f32`, 'onnxruntime-web'],
  ['tfjs f32', `${ours} f32`, 'TensorFlow.js'],
  ['ort f32', `${ours} bf16`, 'onnxruntime-node f32 over our bf16'],
  ['torch bf16', `${ours} bf16`, 'PyTorch bf16 over our bf16'],
  ['ort f32', `${ours} int8`, 'onnxruntime-node f32 over our int8'],
  ['ort int8', `${ours} int8`, 'onnxruntime-node int8 over our int8'],
].filter(([theirs, own]) => [theirs, own].every((name) => engines?.rows.some((row) => row.name === name)));

const networks = unique(engines?.rows.map(({ network }) => network) ?? []);
const batches = unique(engines?.rows.map(({ batch }) => batch) ?? []);

function enginesPart() {
  if (!engines) return ['Not measured: `node bench/engines.js`.'];
  const parts = [];
  for (const batch of batches)
    parts.push(
      `Batch ${batch}:`,
      markdown(
        ['network', ...pairs.map(([, , title]) => title)],
        networks.map((network) => [
          network,
          ...pairs.map(([theirs, own]) => ratio(time(network, theirs, batch) / time(network, own, batch))),
        ]),
      ),
    );
  const reasons = unique(engines.left.map(({ name, reason }) => `${name}: ${reason}`)).map((text) => {
    const where = engines.left
      .filter(({ name, reason }) => `${name}: ${reason}` === text)
      .map(({ network }) => network);
    return `${text} (${unique(where).join(', ')})`;
  });
  if (reasons.length) parts.push(`Left out: ${reasons.join('; ')}.`);
  return parts;
}

function convolutionsPart() {
  const rows = engines?.rows.filter(({ overConvolutions }) => overConvolutions !== undefined) ?? [];
  if (rows.length === 0) return ['Not measured: the engine `onednn` tells it.'];
  const own = unique(rows.map(({ name }) => name));
  const head = ['network', ...own.flatMap((name) => batches.map((batch) => `${name}, batch ${batch}`))];
  const cells = networks.map((network) => [
    network,
    ...own.flatMap((name) =>
      batches.map((batch) =>
        ratio(
          rows.find((row) => row.network === network && row.name === name && row.batch === batch)?.overConvolutions,
        ),
      ),
    ),
  ]);
  const slow = rows.filter(({ slow = [] }) => slow.length);
  return [
    markdown(head, cells),
    slow.length
      ? `Layers without a fast kernel: ${slow.map(({ network, name, slow }) => `${network} in ${name}: ${slow.length}`).join('; ')}.`
      : 'No layer of any of these runs on a plain kernel.',
  ];
}

function peakPart() {
  if (!alone) return ['Not measured: `residual bench --json > bench/results/bench.json`.'];
  const columns = unique(alone.rows.map(({ engine, precision }) => `${engine} ${precision}`));
  const share = (column, batch) =>
    alone.rows.find((row) => `${row.engine} ${row.precision}` === column && row.batch === batch)?.shareOfPeak;
  return [
    markdown(
      [alone.network, ...unique(alone.rows.map(({ batch }) => `batch ${batch}`))],
      columns.map((column) => [
        column,
        ...unique(alone.rows.map(({ batch }) => batch)).map((batch) => ratio(share(column, batch))),
      ]),
    ),
    `The peak is the fastest of two chains of 1×1 convolutions, by any engine: ${alone.peaks
      .map(
        ({ precision, engine, macsPerSecond }) =>
          `${(macsPerSecond / 1e9).toFixed(0)} GMAC/s in ${precision} (${engine})`,
      )
      .join(', ')}. Winograd's algorithm does with fewer multiplications than are counted.`,
  ];
}

function picturesPart() {
  if (!pictures) return ['Not measured: `node bench/pictures.js`.'];
  const theirs = pictures.rows.filter(({ name }) => name.startsWith('transformers'));
  const own = pictures.rows.filter(({ name }) => !name.startsWith('transformers'));
  return [
    `${pictures.photographs} photographs (${Math.min(pictures.photographs, pictures.distinct)} distinct ones), speed of ours over theirs:`,
    markdown(
      ['', ...theirs.map(({ name }) => name)],
      own.map(({ name, perSecond }) => [name, ...theirs.map((their) => ratio(perSecond / their.perSecond))]),
    ),
    `The best label is that of ${pictures.rows[0].name} for: ${pictures.rows
      .map(({ name, agreement }) => `${name} ${(100 * agreement).toFixed(1)} %`)
      .join(
        ', ',
      )}.${pictures.calibrated ? '' : ' Our int8 has random scales here: the run is for time.'} Theirs in int8 has random scales.`,
  ];
}

function neighbourPart() {
  if (!neighbour) return ['Not measured: `node bench/neighbour.js`.'];
  return [
    markdown(
      ['contender', ...unique(neighbour.rows.map(({ batch }) => `batch ${batch}`))],
      unique(neighbour.rows.map(({ name }) => name)).map((name) => [
        name,
        ...neighbour.rows.filter((row) => row.name === name).map(({ slower }) => ratio(slower)),
      ]),
    ),
  ];
}

function trainingPart() {
  if (!training) return ['Not measured: `node bench/training.js`.'];
  const theirs = unique(training.rows.map(({ name }) => name)).filter((name) => name.startsWith('torch'));
  const own = training.rows.filter(({ name }) => !name.startsWith('torch'));
  const row = (network, batch, name) =>
    training.rows.find((one) => one.network === network && one.batch === batch && one.name === name);
  return [
    markdown(
      ['', ...theirs.map((name) => `speed over ${name}`), 'over its convolutions', 'memory over PyTorch’s least'],
      own.map(({ network, batch, name, median, overConvolutions, peak }) => [
        `${network}, batch ${batch}, ${name}`,
        ...theirs.map((their) => ratio(row(network, batch, their)?.median / median)),
        ratio(overConvolutions),
        ratio(peak / Math.min(...theirs.map((their) => row(network, batch, their)?.peak ?? Number.NaN))),
      ]),
    ),
    'A step is forward, backward and the update by SGD with momentum; the loader is left out. Memory is the most that a process had resident.',
  ];
}

const versions = unique(found.flatMap(({ rows }) => rows.map(({ runtime }) => runtime).filter(Boolean)));
const [{ processor, system, node }] = found;
const plots = [];
if (engines && networks.includes('resnet50') && time('resnet50', 'ort f32', batches[0])) {
  const rows = engines.rows
    .filter(({ network }) => network === 'resnet50')
    .map(({ name, batch, median }) => ({
      name,
      group: `batch ${batch}`,
      value: time('resnet50', 'ort f32', batch) / median,
    }));
  writeFileSync(docs('benchmarks-resnet50.svg'), await bars(rows, 'Speed over onnxruntime-node f32, ResNet-50 at 224'));
  plots.push('![Speed of ResNet-50 over onnxruntime-node f32](benchmarks-resnet50.svg)');
  const own = engines.rows
    .filter(({ name, network, batch }) => name === `${ours} f32` && time(network, 'ort f32', batch))
    .map(({ network, batch, median }) => ({
      name: network,
      group: `batch ${batch}`,
      value: time(network, 'ort f32', batch) / median,
    }));
  writeFileSync(docs('benchmarks-networks.svg'), await bars(own, `Speed of ${ours} f32 over onnxruntime-node f32`));
  plots.push(`![Speed of ${ours} in f32 over onnxruntime-node, by network](benchmarks-networks.svg)`);
}

const commands = found.map(({ command, date }) => `| \`${command}\` | ${date} |`);
const page = `# Benchmarks

Written by \`node bench/report.js\`; do not edit. Each table comes from one run in which the contenders took turns, each a
process of its own, the others asleep, and nothing else ran on the machine. Ratios are of medians: 2 means twice as fast.
Networks have random weights and pictures are 224 × 224; times in milliseconds stand in [benchmarks.csv](benchmarks.csv).

Machine: ${processor}; ${system}; Node ${node}; ${engines?.threads ?? 2} threads for every contender.
Versions: ${versions.join(', ')}.

| command | run on |
| --- | --- |
${commands.join('\n')}

What is compared is installed by \`npm install --prefix bench\`; PyTorch is Debian's \`python3-torch\`. onnxruntime runs the
network's ONNX file with its default settings, but the number of threads; its int8 is the same file in QDQ form (u8 activations,
s8 weights with a scale for each channel). PyTorch keeps channels last; "optimised" is \`torch.jit.optimize_for_inference\`,
its bf16 has BatchNorm fused. TensorFlow.js has one thread in Node: it starts no others there.

## Targets

${markdown(['', 'target', 'measured'], targets(results))}

Where bf16 and int8 miss their targets the cause is the processor: the targets are of one with AMX, whose tiles multiply bf16
and int8 some eight times as fast as f32; this one has AVX-512 alone, with VNNI and BF16, which doubles and quadruples at best
and serves onnxruntime's int8 just as well. PyTorch's optimised form calls the same library's blocked kernels, and is beaten
by Winograd's alone. Where the time over the convolutions alone is missed by a hair, the proof that no value overflowed
([onednn.md](onednn.md)) is part of it, and one run differs from the next by as much.

## Engines: their time over ours

${[...plots, ...enginesPart()].join('\n\n')}

## A network's time over its convolutions alone

${convolutionsPart().join('\n\n')}

## Share of this machine's peak

${peakPart().join('\n\n')}

## From JPEG files to labels

${picturesPart().join('\n\n')}

## Training

${trainingPart().join('\n\n')}

## Beside a busy neighbour

How many times as long a run takes while another process keeps one core busy.

${neighbourPart().join('\n\n')}
`;
writeFileSync(docs('benchmarks.md'), page);
writeFileSync(docs('benchmarks.csv'), csv(csvRows()));
console.log('written: docs/benchmarks.md, docs/benchmarks.csv and the plots');

function csvRows() {
  const round = (value) => (value === undefined ? undefined : Number(value.toPrecision(5)));
  return [
    ...(engines?.rows ?? []).map(({ network, name, batch, runtime, times, ...row }) => ({
      measurement: 'engines',
      network,
      contender: name,
      runtime,
      batch,
      runs: times.length,
      median_ms: round(row.median),
      least_ms: round(row.least),
      convolutions_ms: round(row.convolutions),
    })),
    ...(pictures?.rows ?? []).map(({ name, runtime, perSecond }) => ({
      measurement: 'pictures',
      network: 'resnet50',
      contender: name,
      runtime,
      runs: pictures.photographs,
      median_ms: round(1000 / perSecond),
    })),
    ...(neighbour?.rows ?? []).flatMap(({ name, runtime, batch, alone, beside }) =>
      Object.entries({ alone, beside }).map(([how, median]) => ({
        measurement: `neighbour, ${how}`,
        network: neighbour.network,
        contender: name,
        runtime,
        batch,
        median_ms: round(median),
      })),
    ),
    ...(results['start-to-exit']?.rows ?? []).map(({ name, seconds, least }) => ({
      measurement: 'start to exit',
      contender: name,
      runs: results['start-to-exit'].runs,
      median_ms: round(1000 * seconds),
      least_ms: round(1000 * least),
    })),
    ...(training?.rows ?? []).map(({ network, batch, name, runtime, times, peak, ...row }) => ({
      measurement: 'training',
      network,
      contender: name,
      runtime,
      batch,
      runs: times.length,
      median_ms: round(row.median),
      least_ms: round(row.least),
      convolutions_ms: round(row.convolutions),
      megabytes: round(peak),
    })),
    ...(results.memory?.rows ?? []).map(({ name, resident }) => ({
      measurement: 'resident memory',
      network: 'resnet50',
      contender: name,
      megabytes: round(resident),
    })),
  ];
}
