// Damages small weight files at random and opens each: every one must be read or refused with one clear error, in
// bounded memory and time. A child process does the reading; this one watches it.
//
//     node scripts/fuzz.js                              a million files a reader: some hours
//     node scripts/fuzz.js --files 10000 safetensors onnx
//     node scripts/fuzz.js --from 123456 --files 1 torch-zip     one file again, by its number
import { execFileSync, fork } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    files: { type: 'string', default: '1000000' },
    from: { type: 'string', default: '0' },
    seeds: { type: 'string' },
    child: { type: 'boolean', default: false },
  },
});
const [from, files] = [Number(values.from), Number(values.files)];

/** Seconds without a word from the child: the file it reads has sent it in circles. */
const patience = 60;
/** MiB the child may hold: a tenth of what one hostile size could claim, far above what small files need. */
const mostMemory = 1024;
/** Files between two words of the child. */
const round = 200;

if (values.child) await child(positionals[0], values.seeds);
else await watch();

async function watch() {
  const seeds = mkdtempSync(join(tmpdir(), 'residual-fuzz-'));
  process.on('exit', () => rmSync(seeds, { recursive: true, force: true }));
  execFileSync('/usr/bin/python3', [new URL('fuzz-seeds.py', import.meta.url).pathname, seeds], { stdio: 'inherit' });
  const readers = positionals.length ? positionals : readdirSync(seeds);
  console.log('| reader | files | read | refused | given up | crashes | hangs | files/s | most memory |');
  console.log('| --- | --- | --- | --- | --- | --- | --- | --- | --- |');
  for (const reader of readers) {
    const { read, refused, late, memory, troubles, seconds, done } = await watchOne(reader, seeds);
    const crashes = troubles.filter((trouble) => trouble.kind === 'crash').length;
    console.log(
      `| ${reader} | ${done} | ${read} | ${refused} | ${late} | ${crashes} | ${troubles.length - crashes} | ` +
        `${Math.round(done / seconds)} | ${Math.round(memory)} MiB |`,
    );
    for (const { kind, at, what } of troubles) console.error(`${reader}: ${kind} at file ${at}: ${what}`);
    if (troubles.length || memory > mostMemory) process.exitCode = 1;
  }
}

/** Runs one reader's files in child processes; a child that dies or stalls is replaced behind the file it was at. */
async function watchOne(reader, seeds) {
  const total = { read: 0, refused: 0, late: 0, memory: 0, troubles: [], seconds: 0, done: 0 };
  const began = performance.now();
  let next = from;
  while (next < from + files && total.troubles.length < 20) {
    const left = String(from + files - next);
    const args = ['--child', '--seeds', seeds, '--from', String(next), '--files', left, reader];
    const worker = fork(new URL(import.meta.url), args, { execArgv: ['--max-old-space-size=512'] });
    let at = next;
    let timer;
    const stall = () => {
      total.troubles.push({ kind: 'hang', at: `${at} … ${at + round}`, what: `no word for ${patience} s` });
      worker.kill('SIGKILL');
    };
    timer = setTimeout(stall, patience * 1000);
    worker.on('message', (word) => {
      clearTimeout(timer);
      timer = setTimeout(stall, patience * 1000);
      if (word.trouble) total.troubles.push({ kind: 'crash', at: word.at, what: word.trouble });
      else {
        total.memory = Math.max(total.memory, word.memory);
        for (const key of ['read', 'refused', 'late']) total[key] += word[key];
        total.done += word.read + word.refused + word.late;
        at = word.at;
        if (process.stderr.isTTY) process.stderr.write(`\r${reader}: ${at - from} of ${files} `);
      }
    });
    const code = await new Promise((resolve) => worker.on('exit', (status, signal) => resolve(signal ?? status)));
    clearTimeout(timer);
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    if (code === 0) break;
    if (code !== 'SIGKILL') total.troubles.push({ kind: 'crash', at: `${at} … ${at + round}`, what: `exit ${code}` });
    next = at + round;
  }
  total.seconds = (performance.now() - began) / 1000;
  return total;
}

async function child(reader, seeds) {
  const folder = join(seeds, reader);
  const names = readdirSync(folder);
  const whole = names.includes('open-me');
  const originals = (whole ? ['open-me'] : names).map((name) => readFileSync(join(folder, name)));
  const read = await readerOf(reader, whole ? folder : undefined);
  const counts = { read: 0, refused: 0, late: 0 };
  const say = (word) => process.send(word);
  for (let i = from; i < from + files; i++) {
    const bytes = damage(originals[i % originals.length], i);
    try {
      counts[await read(bytes)]++;
    } catch (error) {
      say({
        trouble: String(error?.stack ?? error)
          .split('\n')
          .slice(0, 3)
          .join(' '),
        at: i,
      });
      counts.refused++;
    }
    if ((i + 1 - from) % round === 0 || i + 1 === from + files) {
      say({ ...counts, at: i + 1, memory: process.memoryUsage.rss() / 2 ** 20 });
      Object.assign(counts, { read: 0, refused: 0, late: 0 });
    }
  }
  process.disconnect();
  process.exit(0);
}

/** How a damaged file is opened: all its tensors are read. HDF5 goes through a thread that is thrown away when late. */
async function readerOf(reader, folder) {
  const library = new URL('../packages/residual/dist/', import.meta.url);
  const { ResidualError } = await import(new URL('errors.js', library));
  const refusedOrThrow = (error) => {
    if (!(error instanceof ResidualError)) throw error;
    if (/[\r\n]/.test(error.message) || error.message.length > 2000) throw new Error(`message: ${error.message}`);
    return 'refused';
  };
  if (reader.startsWith('keras')) {
    const { startThread } = await import(new URL('thread/thread.js', library));
    const thread = startThread(new URL('weights/keras.test.worker.js', library), { interruptible: true });
    return async (bytes) => {
      await thread.call('leftOver', []);
      let timer;
      const late = new Promise((resolve) => {
        timer = setTimeout(() => resolve('late'), 5000);
      });
      const found = await Promise.race([thread.call('outcome', [bytes]), late]);
      clearTimeout(timer);
      if (found === 'late' || found === 'gave up') await thread.terminate();
      return found === 'late' ? 'late' : found === 'read' ? 'read' : 'refused';
    };
  }
  const { openCheckpoint } = await import(new URL('weights/open.js', library));
  const { understand } = await import(new URL('tasks/understand.js', library));
  return async (bytes) => {
    let input = bytes;
    if (folder) {
      mkdirSync(folder, { recursive: true });
      input = join(folder, 'damaged.safetensors.index.json');
      writeFileSync(input, bytes);
    }
    try {
      const checkpoint = await openCheckpoint(input);
      try {
        for (const name of checkpoint.tensors.keys()) await checkpoint.read(name);
        understand(checkpoint).described?.();
      } finally {
        await checkpoint.close();
      }
      return 'read';
    } catch (error) {
      return refusedOrThrow(error);
    }
  };
}

/** File number `i`: one to six changes, each where the file has something to say half of the time. */
function damage(original, i) {
  let state = (i * 2654435761 + 0x9e3779b9) >>> 0;
  // mulberry32
  const random = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n) => Math.floor(random() * n);
  let bytes = Uint8Array.from(original);
  const place = () => {
    let at = below(bytes.length);
    if (random() < 0.5) for (let tries = 0; tries < 50 && bytes[at] === 0; tries++) at = below(bytes.length);
    return at;
  };
  const extremes = [
    [255, 255, 255, 255, 255, 255, 255, 255],
    [0, 0, 0, 0, 0, 0, 0, 64],
    [255, 255, 255, 127],
    [0, 0, 0, 0],
    [1, 0, 0, 128],
  ];
  const changes = [
    () => (bytes[place()] ^= 1 << below(8)),
    () => (bytes[place()] ^= 1 << below(8)),
    () => (bytes[place()] = below(256)),
    () => bytes.set(extremes[below(extremes.length)].slice(0, bytes.length), below(Math.max(1, bytes.length - 8))),
    () => (bytes = bytes.slice(0, below(bytes.length + 1))),
    () => {
      // A piece moves elsewhere.
      const [at, to, length] = [below(bytes.length), below(bytes.length), 1 + below(32)];
      bytes.copyWithin(to, at, at + length);
    },
    () => {
      // A piece goes, or comes twice.
      const [at, length] = [below(bytes.length), 1 + below(16)];
      const again = random() < 0.5 ? at : Math.min(bytes.length, at + length);
      bytes = Uint8Array.from([...bytes.subarray(0, random() < 0.5 ? at : at + length), ...bytes.subarray(again)]);
    },
  ];
  for (let n = 1 + below(6); n > 0 && bytes.length; n--) changes[below(changes.length)]();
  return bytes;
}
