import { createRequire } from 'node:module';
import { ResidualError } from '../../errors.js';

/** What a C function takes here: pointers as numbers of 64 bits or as the memory of a typed array. */
export type Value = bigint | number | string | null | ArrayBufferView;

/** A C function; integers come back as numbers, pointers as numbers of 64 bits. */
export type CFunction = (...values: Value[]) => unknown;

/**
 * Types of a C function's arguments, a letter each: `p` any pointer, `i` int, `u` unsigned, `f` float, `z` size_t,
 * `s` a string.
 */
export type Signature = string;

/** A loaded library. */
export interface Library {
  /** A function that returns an int, or `result`. Throws when the library has none of that name. */
  func(name: string, signature: Signature, result?: 'int' | 'void' | 'size_t' | 'void *'): CFunction;
}

const types: Record<string, string> = { p: 'void *', i: 'int', u: 'unsigned int', f: 'float', z: 'size_t', s: 'str' };

interface Koffi {
  load(path: string | null): { func(name: string, result: string, types: string[]): CFunction };
  view(address: bigint, bytes: number): ArrayBuffer;
  address(data: ArrayBufferView): bigint;
  decode: { string(address: bigint): string };
}

/** The C library and the loader of this machine. */
export interface Native {
  /** Loads a library for good: it stays when this thread ends. Throws the loader's message. */
  load(file: string): Library;
  /** Does `use` with a variable set in the environment that C sees, unless it is set already; gone again after. */
  withVariable<T>(name: string, value: string, use: () => T): T;
  /** A string that ends in a zero byte. */
  string(address: bigint): string;
  /** Copies memory. */
  copy(to: bigint | ArrayBufferView, from: bigint | ArrayBufferView, bytes: number): void;
  allocate(bytes: number): bigint;
  free(address: bigint): void;
  view(address: bigint, bytes: number): ArrayBuffer;
  clear(address: bigint, bytes: number): void;
  /** Where JavaScript keeps numbers: good until it may move them, so for one synchronous call. */
  address(data: ArrayBufferView): bigint;
}

/**
 * Opens the way to C by the package koffi.
 * @throws MISSING_PACKAGE when it is not installed or has no binary for this platform.
 */
export function openNative(): Native {
  const koffi = loadKoffi();
  const open = (file: string | null): Library => {
    const library = koffi.load(file);
    return {
      func: (name, signature, result = 'int') =>
        library.func(
          name,
          result,
          [...signature].map((letter) => types[letter]),
        ),
    };
  };
  // The C library that Node itself runs on; on Windows by its name.
  const libc = open(process.platform === 'win32' ? 'ucrtbase.dll' : null);
  const pin = process.platform === 'win32' ? pinOnWindows(open('kernel32.dll')) : pinByLoader(libc);
  const copy = libc.func('memcpy', 'ppz', 'void *');
  const fill = libc.func('memset', 'piz', 'void *');
  return {
    load(file) {
      const library = open(file);
      pin(file);
      return library;
    },
    withVariable: process.platform === 'win32' ? (_name, _value, use) => use() : variables(libc),
    string: (address) => koffi.decode.string(address),
    copy: (to, from, bytes) => void copy(to, from, bytes),
    ...(process.platform === 'win32' ? windowsMemory(libc) : posixMemory(libc)),
    view: (address, bytes) => koffi.view(address, bytes),
    address: (data) => koffi.address(data),
    clear: (address, bytes) => void fill(address, 0, bytes),
  };
}

function loadKoffi(): Koffi {
  try {
    return createRequire(import.meta.url)('koffi') as Koffi;
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    const why =
      code === 'MODULE_NOT_FOUND' && message.includes("'koffi'")
        ? 'is not installed'
        : `does not load here (${message.split('\n')[0]})`;
    throw new ResidualError(
      'MISSING_PACKAGE',
      `engine "onednn" needs the package koffi, which ${why}; run: npm install koffi`,
      { packages: ['koffi'] },
    );
  }
}

/**
 * koffi closes a library when the thread that loaded it ends. OpenMP's threads still run in it then, and the process
 * crashes; so it is loaded a second time and for good.
 */
function pinByLoader(libc: Library): (file: string) => void {
  const dlopen = libc.func('dlopen', 'si', 'void *');
  const now = 2;
  const keep = process.platform === 'darwin' ? 0x80 : 0x1000; // RTLD_NODELETE
  return (file) => void dlopen(file, now | keep);
}

function pinOnWindows(kernel: Library): (file: string) => void {
  const load = kernel.func('LoadLibraryA', 's', 'void *');
  return (file) => void load(file);
}

function variables(libc: Library): Native['withVariable'] {
  const get = libc.func('getenv', 's', 'void *');
  const set = libc.func('setenv', 'ssi');
  const unset = libc.func('unsetenv', 's');
  return (name, value, use) => {
    if (get(name)) return use();
    set(name, value, 0);
    try {
      return use();
    } finally {
      unset(name);
    }
  };
}

type Memory = Pick<Native, 'allocate' | 'free'>;

const line = 64;
const hugePage = 2 ** 21;
const worthAsking = 2 ** 28;

function posixMemory(libc: Library): Memory {
  const memalign = libc.func('posix_memalign', 'pzz');
  const free = libc.func('free', 'p', 'void');
  const advise = process.platform === 'linux' ? libc.func('madvise', 'pzi') : undefined;
  const out = new BigUint64Array(1);
  return {
    allocate(bytes) {
      const large = bytes >= hugePage;
      // Linux promises more than there is, and kills the process that takes it at its word.
      if (bytes >= worthAsking && process.platform === 'linux' && bytes > process.availableMemory())
        throw outOfMemory(bytes);
      if (memalign(out, large ? hugePage : line, checked(bytes)) !== 0) throw outOfMemory(bytes);
      if (large) advise?.(out[0], bytes, 14); // MADV_HUGEPAGE: fewer translations of addresses; advice may be ignored.
      return out[0];
    },
    free: (address) => void free(address),
  };
}

function windowsMemory(libc: Library): Memory {
  const malloc = libc.func('_aligned_malloc', 'zz', 'void *');
  const free = libc.func('_aligned_free', 'p', 'void');
  return {
    allocate(bytes) {
      const address = malloc(checked(bytes), line) as bigint | null;
      if (!address) throw outOfMemory(bytes);
      return address;
    },
    free: (address) => void free(address),
  };
}

/** The size to ask for: never nothing, which C may answer with no address. */
function checked(bytes: number): number {
  if (!Number.isSafeInteger(bytes) || bytes < 0)
    throw new ResidualError('ENGINE', `oneDNN: memory of ${bytes} bytes was asked for`, { bytes });
  return Math.max(bytes, line);
}

export const outOfMemory = (bytes: number): ResidualError =>
  new ResidualError(
    'ENGINE',
    `oneDNN: out of memory: ${(bytes / 2 ** 20).toFixed(1)} MiB could not be had; use smaller batches or pictures`,
    { bytes },
  );
