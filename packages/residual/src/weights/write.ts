import { ResidualError } from '../errors.js';
import type { AnyTensor } from '../tensor.js';
import type { KerasContent } from './hdf5-write.js';
import { safetensorsBytes } from './safetensors.js';
import { kerasBytes } from './write-keras.js';
import { torchBytes } from './write-torch.js';

/** What is written: names and tensors in the file's own spelling and layout. */
export interface FileContent {
  readonly tensors: ReadonlyMap<string, AnyTensor>;
  /** Texts of a safetensors header. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The same tensors by layer, and Keras' attributes, for a Keras file. */
  readonly keras?: KerasContent;
}

/** A kind of file that weights are written to. */
interface Container {
  /** For people. */
  readonly about: string;
  /** Endings that mean it; the first is the usual one. */
  readonly endings: readonly string[];
  /** Whether it keeps preprocessing, classes and licence. */
  readonly keepsRecord: boolean;
  bytes(content: FileContent): Iterable<Uint8Array> | Promise<Iterable<Uint8Array>>;
}

/** Formats of weights that are written; ONNX, which is a program, is written by `exportOnnx`. */
export const containers = {
  residual: {
    about: 'weights with all that belongs to them: network, preprocessing, classes, licence',
    endings: ['.residual'],
    keepsRecord: true,
    bytes: ({ tensors, metadata }) => safetensorsBytes(tensors, metadata),
  },
  safetensors: {
    about: 'tensors alone',
    endings: ['.safetensors'],
    keepsRecord: false,
    bytes: ({ tensors, metadata }) => safetensorsBytes(tensors, metadata),
  },
  pytorch: {
    about: 'a state dictionary as torch.save writes it, for torch.load(weights_only=True)',
    endings: ['.pth', '.pt', '.th', '.bin'],
    keepsRecord: false,
    bytes: ({ tensors }) => torchBytes(tensors),
  },
  keras: {
    about: 'a Keras weight file, for model.load_weights',
    endings: ['.h5', '.hdf5'],
    keepsRecord: false,
    async bytes({ keras }) {
      if (!keras) throw new ResidualError('ARGUMENT', 'a Keras file needs the layers of its network');
      return [await kerasBytes(keras)];
    },
  },
} as const satisfies Record<string, Container>;

export type ContainerName = keyof typeof containers;
export type TargetFormat = ContainerName | 'onnx';

/**
 * The format of a file to be written, by its ending.
 * @throws ARGUMENT for an ending that means none.
 */
export function formatOfEnding(path: string): TargetFormat {
  const format = meantBy(path);
  if (format) return format;
  const known = [...Object.values(containers).flatMap(({ endings }) => endings), '.onnx'].join(' ');
  const hint = path.toLowerCase().endsWith('.keras') ? '; Keras 3 reads weights from .h5 too' : '';
  throw new ResidualError(
    'ARGUMENT',
    `${path}: its ending says no format that is written; expected one of ${known}; convert also takes the format by name (to)${hint}`,
    { file: path },
  );
}

/** What to tell of a file whose ending means another format than the one that is asked for; a record needs no ending. */
export function endingNote(path: string, format: TargetFormat): string | undefined {
  const meant = meantBy(path);
  if (!meant || meant === format || (format === 'residual' && meant === 'safetensors')) return undefined;
  return `${path}: written as ${format}, as was asked; its ending means ${meant}, and other programs may go by that`;
}

function meantBy(path: string): TargetFormat | undefined {
  const name = path.replace(/^.*[/\\]/, '').toLowerCase();
  if (name.endsWith('.onnx')) return 'onnx';
  const all = Object.entries(containers) as [ContainerName, Container][];
  return all.find(([, { endings }]) => endings.some((ending) => name.endsWith(ending)))?.[0];
}
