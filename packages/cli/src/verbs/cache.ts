import pc from 'picocolors';
import { pruneCache, ResidualError, readCache } from 'residual';
import type { Context } from '../context.js';
import type { cacheFlags, OptionsOf } from '../flags.js';
import { sizeOf } from '../sizes.js';
import { print, printable, wantsColor } from '../terminal.js';

type Options = OptionsOf<typeof cacheFlags>;

/** `residual cache`: what is kept, where, and since when it was not used; `residual cache prune` removes some of it. */
export async function run([action]: readonly string[], options: Options, _context: Context): Promise<number> {
  if (action === undefined) return list(options);
  if (action !== 'prune')
    throw new ResidualError('ARGUMENT', `Expected prune or nothing after "cache" but received ${action}`);
  const { all, olderThan, to, json } = options;
  if (!all && olderThan === undefined && to === undefined)
    throw new ResidualError(
      'ARGUMENT',
      'say what to remove: --all, --older-than DAYS (not used for so long), or --to SIZE (the least recently used)',
    );
  const { removed, bytes } = await pruneCache({ all, olderThan, to });
  if (json) await print(`${JSON.stringify({ removed: removed.map(({ id, path }) => ({ id, path })), bytes })}\n`);
  else await print([...removed.map(({ id }) => `removed ${printable(id)}\n`), `${sizeOf(bytes)} freed\n`].join(''));
  return 0;
}

async function list({ json, all, olderThan, to }: Options): Promise<number> {
  if (all || olderThan !== undefined || to !== undefined)
    throw new ResidualError('ARGUMENT', '--all, --older-than and --to say what to prune: residual cache prune …');
  const { folder, files, unfinished } = await readCache();
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  if (json) {
    await print(`${JSON.stringify({ folder, bytes, unfinished, files })}\n`);
    return 0;
  }
  const { bold, dim } = pc.createColors(wantsColor(process.stdout));
  const columns = Math.max(0, ...files.map(({ id }) => printable(id).length));
  const lines = files.map(
    ({ id, bytes, used }) =>
      `${printable(id).padEnd(columns)}  ${sizeOf(bytes).padStart(8)}  ${dim(`used ${used.toISOString().slice(0, 10)}`)}\n`,
  );
  const broken = unfinished ? `, ${sizeOf(unfinished)} of downloads that are not done` : '';
  const count = `${files.length} model${files.length === 1 ? '' : 's'}, ${sizeOf(bytes)}${broken}`;
  await print([bold(printable(folder)), `: ${count}\n`, ...lines].join(''));
  return 0;
}
