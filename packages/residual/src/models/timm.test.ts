import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isTrainable } from '../graph/graph.js';
import { sizeOf } from '../tensor.js';
import { shared } from '../testing.js';
import { build } from './resnet.js';
import { timm, timmLacks } from './timm.js';

/** Millions of trainable parameters, as PyTorch counts them, to two decimals. */
const millions = (name: string): string =>
  (
    build(name)
      .parameters.filter(isTrainable)
      .reduce((sum, p) => sum + sizeOf(p.shape), 0) / 1e6
  ).toFixed(2);

describe.skipIf(!shared)('every ResNet of timm’s list', () => {
  // What stands here runs even where the tests are skipped.
  const table = shared ? readFileSync(join(shared, 'timm-resnet.csv'), 'utf8') : 'model,params_M';
  const [head, ...lines] = table.trim().split('\n');
  const columns = head.split(',');
  const rows = lines.map((line) => {
    const cells = line.split(',');
    return { model: cells[columns.indexOf('model')], published: cells[columns.indexOf('params_M')] };
  });
  /** What is published of each network; some rows give no number. */
  const networks = new Map<string, Set<string>>();
  for (const { model, published } of rows) {
    const name = model.replace(/\..*/, '');
    networks.set(name, new Set([...(networks.get(name) ?? []), ...(published ? [published] : [])]));
  }

  test('is 169 rows', () => {
    expect(rows).toHaveLength(169);
    expect(columns.length).toBe(15);
  });

  test.each([...networks])('%s', (name, published) => {
    if (Object.hasOwn(timmLacks, name)) expect(() => build(name)).toThrow('unknown model');
    else expect(new Set([millions(name), ...published])).toEqual(new Set([millions(name)]));
  });

  test('names no network that is not on it', () => {
    for (const name of [...Object.keys(timm), ...Object.keys(timmLacks)]) expect([...networks.keys()]).toContain(name);
  });
});
