import { ResidualError } from '../errors.js';
import { checkLicence, type HubEntry } from './catalogue.js';
import type { CacheReport, HubOptions, Pruned } from './options.js';

/**
 * The address of an entry's file, under the mirror when one is given: a page has no disk, its browser caches.
 * @throws LICENCE; DOWNLOAD when `offline` is asked for.
 */
export async function obtain(entry: HubEntry, { offline, hub, acceptLicence }: HubOptions = {}): Promise<string> {
  checkLicence(entry, acceptLicence);
  if (offline)
    throw new ResidualError(
      'DOWNLOAD',
      `${entry.id}: a page keeps no cache of its own, so it cannot be had offline; pass the file's bytes or Blob`,
      { id: entry.id, reason: 'offline' },
    );
  const { host, pathname } = new URL(entry.url);
  return hub?.trim() ? `${hub.trim().replace(/\/+$/, '')}/${host}${pathname}` : entry.url;
}

/** A page has no cache folder. */
export const readCache = async (): Promise<CacheReport> => ({ folder: '', files: [], unfinished: 0 });

/** A page has no cache folder. */
export const pruneCache = async (): Promise<Pruned> => ({ removed: [], bytes: 0 });
