import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { ResidualError } from '../../errors.js';
import { scratch } from '../../testing.js';
import { collectGarbage } from '../onnx/runtime.js';
import { argument, type Dnnl } from './dnnl.js';
import { dnnl, must, place, release, withLibrary } from './dnnl.test.helper.js';
import { openDnnl, processorOf } from './library.js';
import { openNative } from './native.js';
import { findLibrary, remedy, systemNames, versionOf } from './search.js';

afterEach(release);

function refused(work: () => unknown): ResidualError {
  try {
    work();
  } catch (error) {
    if (error instanceof ResidualError) return error;
    throw error;
  }
  throw new Error('expected a refusal but it went well');
}

describe('finding the library', () => {
  const native = openNative();

  test('RESIDUAL_ONEDNN is the file, or an error; no other is taken for it', () => {
    const missing = refused(() => findLibrary(native, '/nowhere/libdnnl.so.2'));
    expect(missing.code).toBe('ENGINE');
    expect(missing.message).toContain('RESIDUAL_ONEDNN names /nowhere/libdnnl.so.2, which does not exist');
    const text = join(scratch(), 'libdnnl.so.2');
    writeFileSync(text, 'no library');
    const wrong = refused(() => findLibrary(native, text));
    expect(wrong.message).toContain(`RESIDUAL_ONEDNN names ${text}, which does not load`);
  });

  test('none of any name, or one that does not load', () => {
    const glibc = 'Failed to load shared library: ';
    const none = 'cannot open shared object file: No such file or directory';
    const failing = (message: (file: string) => string) => ({
      ...native,
      load(file: string): never {
        throw new Error(glibc + message(file));
      },
    });
    const absent = refused(() =>
      findLibrary(
        failing(() => none),
        '',
      ),
    );
    expect(absent.code).toBe('ENGINE');
    expect(absent.message).toContain('engine "onednn": the library oneDNN was not found; ');
    expect(absent.message).toContain(remedy(process.platform));
    const broken = failing((file) => (file.endsWith('so.2') ? `libOpenCL.so.1: ${none}` : none));
    const needy = refused(() => findLibrary(broken, ''));
    expect(needy.message).toContain(`oneDNN does not load: libdnnl.so.2: ${glibc}libOpenCL.so.1: ${none}`);
  });

  test('a library that is not oneDNN, or not of a version that is known', () => {
    const fake = (version: readonly number[] | undefined, threads: number) => {
      // { major, minor, patch, -, address of a text, threads, - }; threads are 2 for OpenMP, 8 for a pool of the caller.
      const struct = new Int32Array([...(version ?? []), 0, 0, 0, threads, 0]);
      const address = native.allocate(struct.byteLength);
      native.copy(address, struct, struct.byteLength);
      return {
        file: 'libfake.so',
        library: {
          func() {
            if (version === undefined) throw new Error('Cannot find function');
            return () => address;
          },
        },
      };
    };
    const versionFor = (version?: readonly number[], threads = 2) => versionOf(fake(version, threads), native);
    expect(refused(() => versionFor()).message).toContain('libfake.so is not oneDNN');
    expect(refused(() => versionFor([2, 5, 4])).message).toContain('is oneDNN 2.5.4, but 2.6 or newer is needed');
    expect(refused(() => versionFor([1, 96, 0])).message).toContain('oneDNN 1.96.0');
    expect(refused(() => versionFor([4, 0, 0])).message).toContain('only versions 2.6 to 3.x are known');
    expect(versionFor([2, 6, 0])).toEqual({ text: '2.6.0', major: 2, openmp: true });
    expect(versionFor([3, 7, 2], 4)).toEqual({ text: '3.7.2', major: 3, openmp: false });
    expect(refused(() => versionFor([3, 9, 1], 8)).message).toContain('from conda take onednn-cpu-omp');
  });

  test('names and remedies of every platform', () => {
    expect(systemNames('linux')).toEqual(expect.arrayContaining(['libdnnl.so.3', 'libdnnl.so.3.7', 'libdnnl.so.2']));
    expect(systemNames('darwin')).toContain('/opt/homebrew/lib/libdnnl.3.dylib');
    expect(systemNames('win32')).toEqual(['dnnl.dll']);
    expect(remedy('linux')).toContain('apt install libdnnl2');
    expect(remedy('linux')).toContain('dnf install onednn');
    expect(remedy('darwin')).toContain('brew install onednn');
    expect(remedy('win32')).toContain('RESIDUAL_ONEDNN');
  });

  test('what a processor has, by the bits of either version', () => {
    expect(processorOf(0x7, 2)).toEqual({
      isa: 'avx2',
      avx2: true,
      avx512: false,
      bf16: false,
      vnni: false,
      amx: false,
    });
    expect(processorOf(0x407, 2)).toMatchObject({ isa: 'avx2_vnni', vnni: true });
    expect(processorOf(0xf, 2)).toMatchObject({ isa: 'avx512_mic', vnni: false });
    expect(processorOf(0xf, 3)).toMatchObject({ isa: 'avx2_vnni', avx512: false, vnni: true });
    expect(processorOf(0x27, 3)).toMatchObject({ avx512: true, vnni: false, bf16: false });
    expect(processorOf(0xe7, 2)).toMatchObject({ isa: 'avx512_core_bf16', bf16: true, vnni: true, amx: false });
    expect(processorOf(0x3e7, 2)).toMatchObject({ isa: 'avx512_core_amx', amx: true });
    expect(processorOf(0x1ef, 3)).toMatchObject({ isa: 'avx10_1_512', bf16: true, amx: false });
    expect(processorOf(0xfef, 3)).toMatchObject({ isa: 'avx10_1_512_amx', amx: true });
  });
});

withLibrary('the library', () => {
  const library = new URL('./library.js', import.meta.url).href;
  const compute = `
    const { openDnnl } = await import(${JSON.stringify(library)});
    const d = openDnnl();
    const desc = d.describe([2, 64, 64, 64], 'f32', 'channelsLast');
    const relu = d.eltwise({ src: desc, dst: desc, kind: 'relu' });
    const memory = d.memory(desc, d.allocate(desc.bytes));
    const list = d.arguments([[1, memory], [17, memory]]);
    for (let i = 0; i < 5; i++) d.execute(relu.handle, list);
    d.wait();`;
  const inWorker = (then: string, ending: string): string => `
    import { Worker } from 'node:worker_threads';
    const code = ${JSON.stringify(`import { parentPort } from 'node:worker_threads'; ${compute} parentPort.postMessage(1); ${then}`)};
    const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(code)));
    const ended = new Promise((done) => worker.once('exit', done));
    await new Promise((done) => worker.once('message', done));
    ${ending}
    process.stdout.write('alive');`;
  // Under another system's loader the program that runs is the loader; the script that does so puts a `node` on the PATH.
  const node = process.execPath.includes('ld-linux') ? 'node' : process.execPath;
  const output = (source: string): string =>
    execFileSync(node, ['--input-type=module', '-e', source], { encoding: 'utf8' });

  test('a program that used it ends as it wants to', () => {
    const ended = (then: string) => {
      const { status, signal } = spawnSync(node, ['--input-type=module', '-e', compute + then], { encoding: 'utf8' });
      return { status, signal };
    };
    expect(ended('process.exit(3);')).toEqual({ status: 3, signal: null });
    expect(ended("throw new Error('on purpose');")).toEqual({ status: 1, signal: null });
  });

  test('a program that used it ends well: by itself, and after its worker ended or was terminated', () => {
    expect(output(`${compute} process.stdout.write('done');`)).toBe('done');
    expect(output(inWorker('', 'await ended;'))).toBe('alive');
    expect(output(inWorker('setInterval(() => {}, 1000);', 'await worker.terminate();'))).toBe('alive');
  });

  test('a variable is set for C alone, and for as long as it is needed; one that is set stays', () => {
    const native = openNative();
    const getenv = native
      .load(process.platform === 'darwin' ? 'libSystem.dylib' : 'libc.so.6')
      .func('getenv', 's', 'void *');
    const value = (name: string) => {
      const address = getenv(name) as bigint | null;
      return address ? native.string(address) : undefined;
    };
    expect(native.withVariable('RESIDUAL_TRIED', 'yes', () => value('RESIDUAL_TRIED'))).toBe('yes');
    expect(value('RESIDUAL_TRIED')).toBeUndefined();
    expect(native.withVariable('PATH', 'no', () => value('PATH'))).toBe(process.env.PATH);
    expect(value('PATH')).toBe(process.env.PATH);
  });

  test('is opened once, and says what it is', () => {
    expect(openDnnl()).toBe(dnnl);
    expect(dnnl.version).toMatch(/^[23]\.\d+\.\d+$/);
    expect(dnnl.version.startsWith(`${dnnl.major}.`)).toBe(true);
    expect(dnnl.file).toMatch(/dnnl/);
  });

  test('memory: aligned, cleared, and refused when there is none', () => {
    for (const bytes of [0, 1, 4096, 5 * 2 ** 20]) {
      const address = dnnl.allocate(bytes);
      expect(address % (bytes > 2 ** 21 ? 2n ** 21n : 64n)).toBe(0n);
      const bytesSeen = new Uint8Array(dnnl.view(address, Math.max(bytes, 1)));
      bytesSeen.fill(7);
      dnnl.clear(address, bytes);
      expect(bytesSeen[0]).toBe(bytes === 0 ? 7 : 0);
      dnnl.free(address);
    }
    const error = refused(() => dnnl.allocate(2 ** 50));
    expect(error.code).toBe('ENGINE');
    expect(error.message).toContain('out of memory: 1073741824.0 MiB');
    expect(refused(() => dnnl.allocate(Number.NaN)).code).toBe('ENGINE');
  });

  test('descriptors know shape, type and size', () => {
    const shape = [2, 20, 3, 5];
    expect(dnnl.describe(shape, 'f32', 'plain')).toMatchObject({ shape, dtype: 'f32', bytes: 2400 });
    expect(dnnl.describe(shape, 'bf16', 'channelsLast').bytes).toBe(1200);
    expect(dnnl.describe(shape, 'u8', 'blocked').bytes).toBe(2 * (dnnl.processor.avx512 ? 32 : 24) * 15);
    expect(dnnl.describe(shape, 'f32', 'any').bytes).toBe(0);
    const of = (layout: 'plain' | 'channelsLast') => dnnl.describe(shape, 'f32', layout);
    expect(dnnl.areEqual(of('plain'), of('plain'))).toBe(true);
    expect(dnnl.areEqual(of('plain'), of('channelsLast'))).toBe(false);
    expect(refused(() => dnnl.describe([1, 2, 3, 4, 5], 'f32', 'blocked')).message).toContain('no layout "blocked"');
  });

  const nonsense = (library: Dnnl) => {
    const src = library.describe([1, 8, 4, 4], 'f32', 'channelsLast');
    const weights = library.describe([8, 9, 3, 3], 'f32', 'any');
    const geometry = { stride: [1, 1], dilation: [1, 1], padding: [0, 0, 0, 0] } as const;
    return library.convolution({ src, weights, dst: src, algorithm: 'direct', ...geometry });
  };

  test('nonsense is an error with the status; a missing argument too', () => {
    expect(refused(() => nonsense(dnnl)).message).toMatch(/^oneDNN: dnnl_\w+ answered status 2, invalid arguments$/);
    const desc = dnnl.describe([1, 8, 4, 4], 'f32', 'channelsLast');
    const relu = must(dnnl.eltwise({ src: desc, dst: desc, kind: 'relu' }));
    const list = dnnl.arguments([[argument.src, place(desc).memory]]);
    const error = refused(() => dnnl.execute(relu.handle, list));
    expect(error.details).toMatchObject({ function: 'dnnl_primitive_execute', status: 2 });
    dnnl.freeArguments(list);
  });

  test('ten thousand made and destroyed: memory stays', async () => {
    const src = dnnl.describe([1, 16, 8, 8], 'u8', 'channelsLast');
    const dst = dnnl.describe([1, 16, 8, 8], 'u8', 'channelsLast');
    const once = () => {
      const weights = dnnl.describe([16, 16, 1, 1], 's8', 'any');
      const scales = { src: 1, weights: new Float32Array(16).fill(0.1), dst: 2 };
      const geometry = { stride: [1, 1], dilation: [1, 1], padding: [0, 0, 0, 0], algorithm: 'direct' } as const;
      const primitive = dnnl.convolution({ src, weights, dst, scales, postOps: [{ op: 'relu' }], ...geometry })!;
      const address = dnnl.allocate(64);
      const memory = dnnl.memory(dnnl.describe([16], 'f32', 'plain'), address);
      dnnl.freeArguments(dnnl.arguments([[argument.src, memory]]));
      dnnl.destroyMemory(memory);
      dnnl.free(address);
      primitive.destroy();
      primitive.destroy();
    };
    const many = async (count: number) => {
      for (let i = 0; i < count; i++) {
        once();
        if (i % 500 > 0) continue;
        // Version 3's descriptors go with their JavaScript objects, as after an engine's `dispose`.
        collectGarbage();
        await new Promise((done) => setTimeout(done));
      }
    };
    await many(2000);
    const before = process.memoryUsage.rss();
    await many(10_000);
    expect((process.memoryUsage.rss() - before) / 2 ** 20).toBeLessThan(20);
  });
});
