// Contenders in processes of their own, of which one works at a time, and how to wait until it has come to rest.
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const here = (file) => fileURLToPath(new URL(file, import.meta.url));
/** Debian's, which has PyTorch; another may come first on the PATH. */
export const python = '/usr/bin/python3';

/** Our engine on oneDNN 3 beside a system that has version 2: in the folder of scripts/onednn3.sh that `ONEDNN3` names. */
export const onednn3 = process.env.ONEDNN3;

/** The command of a contender: ours and other packages for Node in contender.js, PyTorch in contender.py. */
export function commandOf([program, ...rest]) {
  if (program === 'torch') return [python, here('contender.py'), ...rest];
  return [...nodeOf(program), here('contender.js'), program.replace('residual3', 'residual'), ...rest];
}

const nodeOf = (program) => (program === 'residual3' ? [here('../scripts/onednn3.sh'), onednn3] : [process.execPath]);

/** One that trains: ours in contender-training.js, PyTorch in contender-training.py. */
export const trainingCommandOf = ([program, ...rest]) =>
  program === 'torch'
    ? [python, here('contender-training.py'), ...rest]
    : [...nodeOf(program), here('contender-training.js'), ...rest];

/** One that goes from photographs to labels. */
export const pictureCommandOf = (words) => [process.execPath, here('contender-pictures.js'), ...words];

/**
 * Starts a contender. It answers each line of JSON on its standard input with one on its standard output; the first,
 * unasked, says what it is.
 */
export async function startContender(name, [program, ...args], threads) {
  const child = spawn(program, args, {
    env: { ...process.env, OMP_NUM_THREADS: String(threads), THREADS: String(threads), ORT_DISABLE_TELEMETRY: '1' },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let complaint = '';
  child.stderr.on('data', (chunk) => {
    complaint = `${complaint}${chunk}`.slice(-2000);
  });
  const waiting = [];
  let ended = false;
  createInterface({ input: child.stdout }).on('line', (line) => {
    // Some libraries greet on standard output.
    if (line.startsWith('{')) waiting.shift()?.resolve(JSON.parse(line));
  });
  child.on('close', (code, signal) => {
    ended = true;
    const last = complaint.trim().split('\n').at(-1);
    for (const { reject } of waiting.splice(0))
      reject(new Error(last || `it ended with ${signal ?? `status ${code}`}`));
  });
  const next = () => {
    if (ended) return Promise.reject(new Error('it has ended'));
    return new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  };
  const about = await next();
  return {
    name,
    pid: child.pid,
    about,
    async ask(question) {
      const answer = next();
      child.stdin.write(`${JSON.stringify(question)}\n`);
      const found = await answer;
      if (found.error) throw new Error(found.error);
      return found;
    },
    end() {
      child.stdin.end();
      if (ended) return;
      return new Promise((resolve) => {
        const late = setTimeout(() => child.kill('SIGKILL'), 5000);
        child.on('close', () => {
          clearTimeout(late);
          resolve();
        });
      });
    },
  };
}

/** Milliseconds of processor time that a process has used, over all its threads. */
function used(pid) {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]);
    } catch {} // It has ended.
  }
  return nanoseconds / 1e6;
}

/**
 * Waits until a process has come to rest: thread pools go on spinning after a run (ONNX Runtime's for 40 ms), which the
 * next contender must not feel. At rest is under a tenth of a core for 40 ms.
 */
export async function atRest(pid) {
  if (process.platform !== 'linux') return sleep(300);
  for (let tries = 0; tries < 50; tries++) {
    const before = used(pid);
    await sleep(40);
    if (used(pid) - before < 4) return;
  }
}

/**
 * Every contender in turn, round after round: a run that is not counted, then as many as fill `turn` milliseconds. Calls
 * `onTurn(contender, batch, answer)`; one that fails is left out from then on, and `onFailure` is told.
 */
export async function roundRobin(contenders, { batches, rounds, turn = 250 }, { onTurn, onFailure }) {
  const failed = new Set();
  for (let round = 0; round < rounds; round++)
    for (const batch of batches)
      for (const contender of contenders) {
        const key = `${contender.name} ${batch}`;
        if (failed.has(key)) continue;
        try {
          onTurn(contender, batch, await contender.ask({ batch, turn }));
          await atRest(contender.pid);
        } catch (error) {
          failed.add(key);
          onFailure(contender, batch, error);
        }
      }
}
