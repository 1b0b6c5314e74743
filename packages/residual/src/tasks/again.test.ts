import { createHash } from 'node:crypto';
import { readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { collectGarbage } from '#runtime';
import { worker } from '../engines/hosted.js';
import { build } from '../models/resnet.js';
import { sizeOf, type Tensor, tensor, type Weights } from '../tensor.js';
import { temporaryFolder } from '../testing.js';
import { safetensorsBytes } from '../weights/safetensors.js';
import { exportOnnx } from './export.js';
import { load } from './load.js';
import { createModel } from './model.js';
import { save } from './save.js';

const folder = temporaryFolder();
afterAll(folder.remove);
afterAll(() => worker.terminate());
const at = (name: string) => join(folder.path, name);

const graph = build('resnet20');
const record = { architecture: 'resnet20', preprocess: 'custom', plan: [{ step: 'decode', as: 'default' }] } as const;
const image = tensor(
  Float32Array.from({ length: 3 * 32 * 32 }, (_, i) => Math.sin(i)),
  [1, 3, 32, 32],
);

async function saved(name: string): Promise<string> {
  await using model = createModel(graph, record, { seed: 5 });
  await save(model, at(name));
  return at(name);
}

const digest = (weights: Weights): string => {
  const hash = createHash('sha256');
  for (const name of [...weights.keys()].sort()) hash.update(name).update((weights.get(name) as Tensor).data);
  return hash.digest('hex');
};

/** Lets go of what only this turn of the event loop holds. */
async function collect(): Promise<void> {
  await new Promise((resume) => setTimeout(resume));
  collectGarbage();
}

/** The file with other numbers, of the same length and from another time. */
function change(file: string): void {
  const bytes = readFileSync(file);
  const { atime, mtime } = statSync(file);
  writeFileSync(file, bytes);
  utimesSync(file, atime, new Date(mtime.getTime() + 2000));
}

const changed = (what: string) => ({
  code: 'FILE',
  message: expect.stringMatching(
    new RegExp(`it was ${what} after the model was loaded.*load the model again`),
  ) as string,
  details: { reason: 'CHANGED' },
});

describe('a model from a file', () => {
  test('lets go of its weights once compiled, and reads the same ones again', async () => {
    await using model = await load(await saved('let-go.residual'));
    const before = digest(await model.weights());
    const first = new WeakRef(await model.weights());
    await model.prepare();
    await collect();
    expect(first.deref()).toBeUndefined();
    expect(digest(await model.weights())).toBe(before);
  });

  test('their memory is given back by itself, by the worker too', async () => {
    const wide = build('resnet18', { size: 32 });
    const bytes = 4 * wide.parameters.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    expect(bytes).toBeGreaterThan(40e6);
    await using made = createModel(wide, record, { seed: 1 });
    await save(made, at('wide.residual'));
    const before = process.memoryUsage().arrayBuffers;
    await using model = await load(at('wide.residual'));
    expect(process.memoryUsage().arrayBuffers - before).toBeGreaterThan(0.9 * bytes);
    await model.prepare();
    // Shared memory counts here until the last thread has let go of it.
    await expect.poll(() => process.memoryUsage().arrayBuffers - before, { timeout: 20_000 }).toBeLessThan(0.1 * bytes);
  });

  test('a plan compiled later, saving and exporting read it again', async () => {
    await using model = await load(await saved('later.residual'), { deterministic: true });
    const { logits } = await model.run(image);
    await collect();
    expect((await model.run(image, ['layer1', 'logits'])).logits).toEqual(logits);
    await collect();
    await save(model, at('copy.residual'));
    expect(readFileSync(at('copy.residual')).equals(readFileSync(at('later.residual')))).toBe(true);
    await collect();
    await exportOnnx(model, at('later.onnx'));
    await using onnx = await load(at('later.onnx'));
    expect(digest(await onnx.weights())).toBe(digest(await model.weights()));
  });

  test('after the worker was lost it is compiled from the file', async () => {
    await using model = await load(await saved('lost.residual'), { deterministic: true });
    const { logits } = await model.run(image);
    await collect();
    await worker.terminate();
    const [one, two] = await Promise.all([model.run(image), model.run(image)]);
    expect(one.logits).toEqual(logits);
    expect(two.logits).toEqual(logits);
  });

  test('lost while it is read again; disposed while it is read again', async () => {
    await using model = await load(await saved('twice.residual'), { deterministic: true });
    const { logits } = await model.run(image);
    await collect();
    await worker.terminate();
    const running = model.run(image);
    await worker.terminate();
    expect((await running).logits).toEqual(logits);
    await collect();
    await worker.terminate();
    const last = model.run(image);
    await model.dispose();
    expect((await last).logits).toEqual(logits);
  });

  test.each(['changed', 'removed'])('a file that was %s is refused, what is compiled still runs', async (what) => {
    const file = await saved(`${what}.residual`);
    await using model = await load(file);
    const { logits } = await model.run(image);
    await collect();
    if (what === 'removed') rmSync(file);
    else change(file);
    expect((await model.run(image)).logits).toEqual(logits);
    await expect(model.run(image, ['layer1'])).rejects.toMatchObject(changed(what));
    await expect(model.weights()).rejects.toMatchObject(changed(what));
    await expect(save(model, at('no.residual'))).rejects.toMatchObject(changed(what));
    await worker.terminate();
    await expect(model.run(image)).rejects.toMatchObject(changed(what));
  });

  test('a shard counts as the file', async () => {
    await saved('whole.residual');
    await using whole = await load(at('whole.residual'));
    const weights = [...(await whole.weights())];
    const shards = { 'a.safetensors': weights.slice(0, 50), 'b.safetensors': weights.slice(50) };
    const map: Record<string, string> = {};
    for (const [name, part] of Object.entries(shards)) {
      writeFileSync(at(name), Buffer.concat([...safetensorsBytes(new Map<string, Tensor>(part))]));
      for (const [tensor] of part) map[tensor] = name;
    }
    writeFileSync(at('model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map: map }));
    await using model = await load(at('model.safetensors.index.json'));
    await model.prepare();
    await collect();
    expect(digest(await model.weights())).toBe(digest(new Map(weights)));
    await collect();
    change(at('b.safetensors'));
    await expect(model.weights()).rejects.toMatchObject({ ...changed('changed'), message: /b\.safetensors/ });
  });
});

test('a model from bytes or a Blob keeps its weights', async () => {
  const bytes = readFileSync(await saved('bytes.residual'));
  for (const from of [bytes, new Blob([bytes])]) {
    await using model = await load(from, { deterministic: true });
    const { logits } = await model.run(image);
    const weights = new WeakRef(await model.weights());
    await collect();
    expect(weights.deref()).toBeDefined();
    await worker.terminate();
    expect((await model.run(image)).logits).toEqual(logits);
  }
});
