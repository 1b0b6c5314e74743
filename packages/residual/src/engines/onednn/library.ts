import { makeApi } from './api.js';
import { bindCalls } from './calls.js';
import type { Dnnl } from './dnnl.js';
import { type Library, openNative } from './native.js';
import { type Found, findLibrary, type LibraryVersion, versionOf } from './search.js';
import { version2 } from './v2.js';
import { version3 } from './v3.js';

let opened: Dnnl | undefined;

/**
 * oneDNN for the thread that calls, found and loaded once.
 * @param patient only the first call's counts: whether OpenMP's threads wait long for their next work, as training wants.
 * @throws MISSING_PACKAGE when koffi is not installed; ENGINE when the library is missing, older than 2.6 or not
 * oneDNN, each with what to do.
 */
export function openDnnl({ patient = false }: { patient?: boolean } = {}): Dnnl {
  opened ??= open(patient);
  return opened;
}

/**
 * How often a thread of GNU's OpenMP looks for its next work before it sleeps: some 10 µs, longer than from one
 * primitive to the next. By default it looks for milliseconds (here: is patient). Where another program wants the core,
 * the thread that is waited for then cannot have the core of the one that waits. Training has many short primitives and
 * shares its cores with the threads that load pictures, of lower priority: they would take the core of each that sleeps.
 */
const spins = '1000';

function open(patient: boolean): Dnnl {
  const native = openNative();
  const load = () => findLibrary(native);
  // Read once, when the library is loaded.
  const asIs = patient || process.env.OMP_WAIT_POLICY !== undefined;
  const found = asIs ? load() : native.withVariable('GOMP_SPINCOUNT', spins, load);
  const version = versionOf(found, native);
  const { library, file } = found;
  const calls = bindCalls(library);
  const processor = processorOf(Number(library.func('dnnl_get_effective_cpu_isa', '')()), version.major);
  const layer = version.major === 2 ? version2 : version3;
  return {
    version: version.text,
    major: version.major,
    file,
    processor,
    setThreads: threadSetter(found, version),
    ...makeApi(native, calls, layer(library, native, calls), processor),
  };
}

/** Sets OpenMP's number of threads for this thread; does nothing where the library was built with other threads. */
function threadSetter({ library }: Found, { openmp }: LibraryVersion): (threads: number) => void {
  if (!openmp) return () => {};
  const set = openmpFunction(library);
  return (threads) => void set?.(threads);
}

/** The loader looks a name up in what a library needs, too; Windows does not. */
function openmpFunction(library: Library) {
  try {
    return library.func('omp_set_num_threads', 'i', 'void');
  } catch {
    return undefined;
  }
}

const names: Record<number, string> = {
  1: 'sse41',
  3: 'avx',
  7: 'avx2',
  39: 'avx512_core',
  103: 'avx512_core_vnni',
  231: 'avx512_core_bf16',
};

const namesOf: Record<2 | 3, Record<number, string>> = {
  2: { 15: 'avx512_mic', 31: 'avx512_mic_4ops', 999: 'avx512_core_amx', 1031: 'avx2_vnni' },
  3: {
    15: 'avx2_vnni',
    31: 'avx2_vnni_2',
    495: 'avx10_1_512',
    4079: 'avx10_1_512_amx',
    8175: 'avx10_1_512_amx_fp16',
  },
};

/** Reads `dnnl_cpu_isa_t`: bits that say what a processor has. */
export function processorOf(isa: number, major: 2 | 3): Dnnl['processor'] {
  const has = (bits: number): boolean => (isa & bits) === bits;
  const vnni256 = major === 2 ? has(0x407) : has(0xf);
  return {
    isa: names[isa] ?? namesOf[major][isa] ?? `0x${isa.toString(16)}`,
    avx2: has(0x7),
    avx512: has(0x27),
    bf16: has(0xe7),
    vnni: has(0x67) || vnni256,
    amx: has(0x3e7),
  };
}
