import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

test.each(['docs-api.js', 'docs-settings.js'])('the docs are what %s writes', (name) => {
  const script = fileURLToPath(new URL(`../../scripts/${name}`, import.meta.url));
  const { status, stderr } = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
