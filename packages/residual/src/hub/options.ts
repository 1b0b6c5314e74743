import type { HubEntry } from './catalogue.js';

/** How published weights are fetched. */
export interface HubOptions {
  /** Never touch the network: what is not in the cache is an error. */
  readonly offline?: boolean | undefined;
  /**
   * A mirror, in place of the publishers: an address or a folder, under which a file lies as `host/path` of the address
   * it was published at. `RESIDUAL_HUB` when left out.
   */
  readonly hub?: string | undefined;
  /** The cache's folder; `RESIDUAL_CACHE` when left out, else `residual` in the user's own cache folder. */
  readonly cache?: string | undefined;
  /** Accept a licence that forbids commercial use. */
  readonly acceptLicence?: boolean | undefined;
  /** Ends a download; what has come is kept for the next call. */
  readonly signal?: AbortSignal | undefined;
  /** Called while a file is downloaded: at the start, with each part that arrives, when a try failed, at the end. */
  readonly onProgress?: ((progress: HubProgress) => void) | undefined;
}

export interface HubProgress {
  readonly entry: HubEntry;
  /** The address it comes from. */
  readonly from: string;
  readonly received: number;
  /** Undefined when the server does not say. */
  readonly total: number | undefined;
  /** Why the last try failed and which is next, where one did: `no answer for 30 s, try 2 of 5`. */
  readonly trouble?: string;
}

/** A file of the cache. */
export interface CachedFile {
  readonly id: string;
  readonly path: string;
  readonly url: string;
  readonly bytes: number;
  /** What was seen when it came. */
  readonly sha256: string;
  /** When it was last used. */
  readonly used: Date;
}

export interface CacheReport {
  readonly folder: string;
  readonly files: readonly CachedFile[];
  /** Bytes of downloads that broke off. */
  readonly unfinished: number;
}

/** Which files leave the cache. Downloads that broke off go in any case. */
export interface Prune {
  readonly all?: boolean | undefined;
  /** Not used for so many days. */
  readonly olderThan?: number | undefined;
  /** The least recently used, until so many bytes are left. */
  readonly to?: number | undefined;
}

export interface Pruned {
  readonly removed: readonly CachedFile[];
  /** With those of downloads that broke off. */
  readonly bytes: number;
}
