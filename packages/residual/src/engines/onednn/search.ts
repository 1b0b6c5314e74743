import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import { ResidualError } from '../../errors.js';
import type { Library, Native } from './native.js';

/** The npm package that may hold the library: its main file. */
const packageName = 'residual-onednn-linux-x64';

/** Names by which the system's loader may know it, the newest first: Debian names version 3 by its minor number too. */
export function systemNames(platform: NodeJS.Platform): readonly string[] {
  const minors = Array.from({ length: 20 }, (_, i) => `3.${19 - i}`);
  if (platform === 'win32') return ['dnnl.dll'];
  if (platform === 'darwin')
    return ['/opt/homebrew/lib', '/usr/local/lib', ''].flatMap((folder) =>
      ['3', '2'].map((version) => join(folder, `libdnnl.${version}.dylib`)),
    );
  return ['3', ...minors, '2'].map((version) => `libdnnl.so.${version}`);
}

/** How to install the library, in one sentence. */
export function remedy(platform: NodeJS.Platform): string {
  const conda = (file: string) =>
    `run: conda install -c conda-forge onednn-cpu-omp, and set RESIDUAL_ONEDNN to ${file} in its folder`;
  if (platform === 'darwin') return `run: brew install onednn; or ${conda('lib/libdnnl.3.dylib')}`;
  if (platform === 'win32') return conda('Library\\bin\\dnnl.dll');
  return (
    'on Debian 12 run: apt install libdnnl2; on Debian 13: apt install libdnnl3.6; on Ubuntu install the package ' +
    'libdnnl3 or libdnnl3.x that "apt search libdnnl" lists; on Fedora: dnf install onednn; elsewhere ' +
    conda('lib/libdnnl.so.3')
  );
}

/** @throws ENGINE: what is wrong, and how to get a library that does. */
const refuse = (what: string, file: string | undefined): ResidualError =>
  new ResidualError('ENGINE', `engine "onednn": ${what}; ${remedy(process.platform)}`, {
    library: file ?? null,
  });

/** A library and where it came from. */
export interface Found {
  readonly library: Library;
  readonly file: string;
}

/**
 * Finds oneDNN: the file that `RESIDUAL_ONEDNN` names, and then no other; the optional package; what the system's
 * loader knows.
 * @throws ENGINE saying what is missing and how to install it.
 */
export function findLibrary(native: Native, named = process.env.RESIDUAL_ONEDNN): Found {
  if (named) return openNamed(native, resolve(named));
  const packed = packagedFile();
  if (packed !== undefined) return openPackaged(native, packed);
  let reason: string | undefined;
  for (const file of systemNames(process.platform))
    try {
      return { library: native.load(file), file };
    } catch (error) {
      reason ??= because(error, file);
    }
  throw refuse(
    reason === undefined ? 'the library oneDNN was not found' : `oneDNN does not load: ${reason}`,
    undefined,
  );
}

function openNamed(native: Native, file: string): Found {
  if (!existsSync(file))
    throw new ResidualError(
      'ENGINE',
      `engine "onednn": RESIDUAL_ONEDNN names ${file}, which does not exist; set it to the file of oneDNN's library, or unset it`,
      { library: file },
    );
  return open(native, file, `RESIDUAL_ONEDNN names ${file}, which`);
}

/** The package holds what the library is linked to as well; what is loaded already is not looked for again. */
function openPackaged(native: Native, file: string): Found {
  const needed = ['libgomp.so.1', 'libOpenCL.so.1'].map((name) => join(dirname(file), name));
  for (const beside of needed.filter((path) => existsSync(path))) open(native, beside, beside);
  return open(native, file, `${file} of the package ${packageName}`);
}

function open(native: Native, file: string, what: string): Found {
  try {
    return { library: native.load(file), file };
  } catch (error) {
    throw refuse(`${what} does not load: ${firstLine(error)}`, file);
  }
}

/** The library in the optional package, beside this package or in the program's own folder. */
function packagedFile(): string | undefined {
  for (const from of [import.meta.url, join(process.cwd(), 'package.json')])
    try {
      return createRequire(from).resolve(packageName);
    } catch {}
  return undefined;
}

const firstLine = (error: unknown): string => (error as Error).message.split('\n')[0];

/**
 * Why a library that is there does not load; `undefined` when there is none of that name. The loader of glibc names a
 * file only when it is another one: what the library needs.
 */
function because(error: unknown, file: string): string | undefined {
  const message = firstLine(error);
  const absent =
    /library: cannot open shared object file: No such file/.test(message) || // glibc
    message.includes(`${file}: No such file`) || // musl
    message.includes('no such file') || // macOS
    process.platform === 'win32';
  return absent ? undefined : `${file}: ${message}`;
}

/** What `dnnl_version()` points to. */
export interface LibraryVersion {
  readonly text: string;
  readonly major: 2 | 3;
  /** Its threads are OpenMP's. */
  readonly openmp: boolean;
}

/**
 * Asks a library for its version.
 * @throws ENGINE when it is no oneDNN, below 2.6, or newer than what this package knows.
 */
export function versionOf({ library, file }: Found, native: Native): LibraryVersion {
  const [major, minor, patch, runtime] = readVersion({ library, file }, native);
  const text = `${major}.${minor}.${patch}`;
  const threadPool = 8;
  if (major < 2 || (major === 2 && minor < 6))
    throw refuse(`${file} is oneDNN ${text}, but 2.6 or newer is needed`, file);
  if (major > 3) throw refuse(`${file} is oneDNN ${text}, but only versions 2.6 to 3.x are known`, file);
  if (runtime === threadPool)
    throw refuse(
      `${file} was built for a thread pool of the program that uses it, and would compute in one thread; from conda take onednn-cpu-omp`,
      file,
    );
  return { text, major: major as 2 | 3, openmp: runtime === 2 };
}

function readVersion({ library, file }: Found, native: Native): number[] {
  let pointer: bigint;
  try {
    pointer = library.func('dnnl_version', '', 'void *')() as bigint;
  } catch {
    throw refuse(`${file} is not oneDNN (it has no function dnnl_version)`, file);
  }
  // { int major, minor, patch; const char *hash; unsigned cpu_runtime, gpu_runtime; }
  const fields = new Int32Array(8);
  native.copy(fields, pointer, fields.byteLength);
  return [fields[0], fields[1], fields[2], fields[6]];
}
