/** A value of a pickle. */
export type Pickled =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | PickledList
  | PickledDict
  | PickledGlobal
  | PickledOther;

export interface PickledList {
  readonly kind: 'list' | 'tuple' | 'set';
  readonly items: Pickled[];
}

export interface PickledDict {
  readonly kind: 'dict';
  /** Keys and values in turn, as written; a later key replaces an earlier equal one when flattened. */
  readonly entries: Pickled[];
}

/** A name that the table knows. */
export interface PickledGlobal {
  readonly kind: 'global';
  readonly name: string;
}

/** What the table's functions build: tensors, storages, types. The machine passes it around unseen. */
export interface PickledOther {
  readonly kind: 'other';
  readonly value: unknown;
}

/** A list, dict, global or built value; not a scalar, string or bytes. */
export const isObject = (value: Pickled): value is PickledList | PickledDict | PickledGlobal | PickledOther =>
  typeof value === 'object' && value !== null && !(value instanceof Uint8Array);
