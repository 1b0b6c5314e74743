import { ResidualError } from '../errors.js';

/** What Hugging Face's libraries look for, in their order: other files of the folder hold the same weights. */
const customary = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
];

/** What a run of training has in its folder from the beginning on. */
const run = ['config.json', 'checkpoints'];

const weightFile = /\.(safetensors|bin|pth|pt|th|h5|keras|onnx)$|\.(safetensors|bin)\.index\.json$/i;
/** One of several files that an index lists. */
const shard = /-\d+-of-\d+\.\w+$/;

/**
 * The one weight file of a folder: `model.safetensors` and its like, else the only file that is called as weights are. Of
 * a run of training it is the best checkpoint.
 * @param names what is in the folder.
 * @throws FILE when there is none; ARGUMENT when there are several.
 */
export function weightFileOf(folder: string, names: readonly string[]): string {
  const known = customary.find((name) => names.includes(name));
  if (known !== undefined) return known;
  if (run.every((name) => names.includes(name))) return 'checkpoints/best.safetensors';
  const found = names.filter((name) => weightFile.test(name) && !shard.test(name) && !name.startsWith('.')).sort();
  if (found.length === 1) return found[0];
  const list = `${found.slice(0, 8).join(', ')}${found.length > 8 ? ', …' : ''}`;
  if (found.length > 1)
    throw new ResidualError(
      'ARGUMENT',
      `${folder}: it is a folder with ${found.length} weight files (${list}); name one of them`,
      { file: folder, found: found.slice(0, 100) },
    );
  throw new ResidualError(
    'FILE',
    `${folder}: it is a folder without a weight file; expected model.safetensors, pytorch_model.bin or one .pth, .h5, .keras, .onnx`,
    { file: folder },
  );
}
