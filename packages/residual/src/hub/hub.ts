import type { CacheReport, Prune, Pruned } from './options.js';

/** What is in the cache of published weights, the last used first. */
export const readCache = async (folder?: string): Promise<CacheReport> => (await import('#hub')).readCache(folder);

/**
 * Removes published weights from the cache, and what broken-off downloads left there.
 * @throws FILE
 */
export const pruneCache = async (prune: Prune, folder?: string): Promise<Pruned> =>
  (await import('#hub')).pruneCache(prune, folder);
