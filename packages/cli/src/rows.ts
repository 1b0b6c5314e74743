import { type ClassifyOptions, classify, type Model, parseNpy, ResidualError, type Row } from 'residual/classify';
import { readBytes } from './files.js';

/** Whether a file holds an array, ready for the network, where others hold pictures. */
export const isArray = (file: string): boolean => /\.npy$/i.test(file);

/** Longer arrays are refused before they are read: 1 GiB. */
const longestArray = 2 ** 30;

/**
 * The answers for files in their order, each with the place of its file: pictures by `classify.each`; of an array
 * `[N, C, H, W]`, which is taken as it is, a row for each of the N, called `x.npy[0]` and so on where there are several.
 */
export async function* rowsOf(
  model: Model,
  files: readonly string[],
  options: ClassifyOptions,
): AsyncGenerator<{ readonly place: number; readonly row: Row }> {
  for (let place = 0; place < files.length; ) {
    if (isArray(files[place])) {
      for await (const row of ofArray(model, files[place], options)) yield { place, row };
      place++;
      continue;
    }
    const next = files.findIndex((file, i) => i > place && isArray(file));
    const pictures = files.slice(place, next < 0 ? files.length : next);
    for await (const row of classify.each(model, pictures, options)) yield { place: place++, row };
  }
}

async function* ofArray(model: Model, file: string, options: ClassifyOptions): AsyncGenerator<Row> {
  try {
    const { data, shape } = parseNpy(await readBytes(file, longestArray), file);
    const [count, ...one] = shape;
    const size = data.length / count;
    for (let i = 0; i < count; i++) {
      const x = { dtype: 'float32', shape: [1, ...one], data: data.subarray(i * size, (i + 1) * size) } as const;
      yield { file: count === 1 ? file : `${file}[${i}]`, predictions: await classify(model, x, options) };
    }
  } catch (error) {
    // What is wrong with this file alone; the others go on.
    const own = error instanceof ResidualError && ['FILE', 'IMAGE', 'GRAPH', 'NUMERICS'].includes(error.code);
    if (!own) throw error;
    yield { file, error };
  }
}
