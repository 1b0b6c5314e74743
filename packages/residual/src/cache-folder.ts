import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/**
 * The cache's folder: as given, else `RESIDUAL_CACHE`, else `residual` in the user's own: `$XDG_CACHE_HOME` or
 * `~/.cache`, macOS `~/Library/Caches`, Windows `%LOCALAPPDATA%`.
 */
export function cacheFolder(given?: string, env: NodeJS.ProcessEnv = process.env, platform = process.platform): string {
  const named = given?.trim() ? given : env.RESIDUAL_CACHE;
  if (named?.trim()) return resolve(named);
  if (platform === 'win32') return join(env.LOCALAPPDATA || join(homedir(), 'AppData', 'Local'), 'residual');
  // The XDG specification says to ignore a relative path.
  if (env.XDG_CACHE_HOME?.startsWith('/')) return join(env.XDG_CACHE_HOME, 'residual');
  return platform === 'darwin'
    ? join(homedir(), 'Library', 'Caches', 'residual')
    : join(homedir(), '.cache', 'residual');
}
