import { ResidualError } from '../errors.js';
import { sharedBytes } from '../tensor.js';
import { openFile } from '../weights/file.js';
import { bytesSource } from '../weights/source.js';
import { readTar } from '../weights/tar.js';
import type { Dataset, Source } from './dataset.js';
import { isGzip, readUnpacked } from './packed.js';
import { type SplitOptions, splitOff } from './split.js';
import { datasetOfTree, isHidden, isPicture } from './tree.js';

/** First bytes of what is not read, and what to do. */
const others: readonly [magic: readonly number[], name: string, advice: (file: string) => string][] = [
  [
    [0xfd, 0x37, 0x7a, 0x58, 0x5a],
    'xz',
    (file) => `unpack it: tar xJf ${file}; or make it a plain tar: xz -dk ${file}`,
  ],
  [[0x42, 0x5a, 0x68], 'bzip2', (file) => `unpack it: tar xjf ${file}`],
  [[0x28, 0xb5, 0x2f, 0xfd], 'zstd', (file) => `unpack it: tar --zstd -xf ${file}`],
  [[0x50, 0x4b, 0x03, 0x04], 'zip', (file) => `unpack it: unzip ${file}`],
];

/** Members beyond these are a mistake: ImageNet has 1.3 million. */
const mostMembers = 20_000_000;

/**
 * Pictures in a tar, in a folder for each class as on a disk. A plain tar stays where it is and pictures are read out of
 * it when they are needed; one packed by gzip is unpacked into memory.
 *
 * @throws FILE; DATA when it is damaged, empty or packed otherwise; CLASSES as `datasetOfTree`; what `splitOff` throws.
 * @example const data = await tar('pictures.tar.gz', { validation: 0.1 });
 */
export async function tar(file: string, options: SplitOptions = {}): Promise<Dataset> {
  const plain = await openFile(file);
  try {
    const head = new Uint8Array(Math.min(8, plain.size));
    await plain.readInto(head, 0);
    for (const [magic, name, advice] of others)
      if (magic.every((byte, i) => head[i] === byte))
        throw new ResidualError('DATA', `${file}: is packed by ${name}, which is not read here; ${advice(file)}`, {
          file,
        });
    const unpacked = isGzip(head) ? shareable(await readUnpacked(file)) : undefined;
    const opened = unpacked ? bytesSource(unpacked, file) : plain;
    const members = await readTar(opened, { most: mostMembers, endMark: true }).catch((cause) => {
      if (!(cause instanceof ResidualError)) throw cause;
      throw new ResidualError('DATA', cause.message, { file }, { cause });
    });
    const place = (offset: number, size: number): Source =>
      unpacked
        ? { kind: 'encoded', bytes: unpacked, offset, length: size }
        : { kind: 'part', file, offset, bytes: size };
    const pictures = [...members]
      .filter(([path]) => isPicture(path) && !isHidden(path))
      .map(([path, { offset, size }]) => ({ path, id: `${file}/${path}`, source: place(offset, size) }));
    return await splitOff(datasetOfTree(file, pictures, []), options, ({ id }) => id.slice(file.length + 1));
  } finally {
    await plain.close();
  }
}

function shareable(bytes: Uint8Array): Uint8Array {
  const shared = sharedBytes(bytes.length);
  shared.set(bytes);
  return shared;
}
