import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type BuildOptions, build, type Plugin } from 'esbuild';
import { expect, test } from 'vitest';

const dist = fileURLToPath(new URL('.', import.meta.url));

/** What runs in a page as it does in Node: folders with all that is in them, and single modules. */
const neutral = [
  'errors.js',
  'random.js',
  'tensor.js',
  'graph',
  'models',
  'weights',
  'tasks',
  'image/apply.js',
  'image/augment.js',
  'image/augment-apply.js',
  'image/plan.js',
  'image/presets.js',
  'image/resize.js',
  'engines/onnx/lower.js',
];
/** Reads files: Node's half of a pair that `imports` in package.json chooses from. */
const nodeOnly = ['weights/file.js'];

/** Peers that a page loads by itself. What is for Node only (`h5wasm/node`, `sharp`) is not among them. */
const peers: Plugin = {
  name: 'peers',
  setup({ onResolve }) {
    onResolve({ filter: /^(h5wasm|onnxruntime-web(\/.*)?)$/ }, ({ path }) => ({ path, external: true }));
  },
};

/** What is wrong with modules in a browser: `weights/open.js:3 Could not resolve "node:fs"`. */
async function complaints(modules: Pick<BuildOptions, 'entryPoints' | 'stdin'>): Promise<string[]> {
  try {
    await build({
      ...modules,
      absWorkingDir: dist,
      bundle: true,
      write: false,
      outdir: 'unwritten',
      format: 'esm',
      platform: 'browser',
      conditions: ['browser'],
      logLevel: 'silent',
      plugins: [peers],
    });
    return [];
  } catch (failure) {
    const { errors } = failure as { errors: { text: string; location: { file: string; line: number } | null }[] };
    return errors.map(({ text, location }) => `${location?.file}:${location?.line} ${text}`);
  }
}

const modules = readdirSync(dist, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.js') && neutral.some((part) => path === part || path.startsWith(`${part}/`)))
  .filter((path) => !/\.test\.|\.worker\./.test(path) && !nodeOnly.includes(path))
  // Of a pair, the page gets the one with `.browser` in its name.
  .filter((path) => !existsSync(join(dist, path.replace(/\.js$/, '.browser.js'))));

test('modules for every host bundle for the browser: no node: import, no Node-only package', async () => {
  expect(modules).toContain('graph/graph.js');
  expect(await complaints({ entryPoints: modules })).toEqual([]);
});

test.each(["import 'node:fs'", "await import('node:worker_threads')", "import 'fs'", "import 'h5wasm/node'"])(
  'the check would catch %s',
  async (contents) => {
    expect(await complaints({ stdin: { contents, resolveDir: dist } })).toContainEqual(
      expect.stringContaining('Could not resolve'),
    );
  },
);
