import { ResidualError, unknownName } from '../errors.js';
import type { HubOptions } from '../hub/options.js';
import { type DialectName, dialectNames } from '../weights/names.js';
import { ownSpelling } from '../weights/record.js';
import { containers, type TargetFormat } from '../weights/write.js';
import type { LoadOptions } from './load.js';
import type { Watched } from './savable.js';

export interface ConvertOptions
  extends Watched,
    Pick<LoadOptions, 'labels' | 'preprocess' | 'part' | 'offline' | 'hub' | 'cache' | 'acceptLicence'> {
  /** What is written, where the ending of the file does not say it. */
  readonly to?: TargetFormat | undefined;
  /** The member of the family, or the network, that the weights are of, where it is not the one they look like. */
  readonly architecture?: LoadOptions['architecture'];
  /** How the tensors are spelled; as in the source when left out, where the format can hold that. */
  readonly dialect?: DialectName | typeof ownSpelling | undefined;
  /** Round convolutions and dense layers to bf16, which halves the file; norms and biases stay as they are. */
  readonly bf16?: boolean | undefined;
  /** Replace a file that is there. */
  readonly force?: boolean | undefined;
  /** For ONNX: join each BatchNorm with the convolution before it. */
  readonly fold?: boolean | undefined;
  /** For ONNX: write a step of the network's training (`exportTrainingStep`) in place of the model. */
  readonly trainingStep?: boolean | undefined;
  /** Pictures in a step of training; 16 when left out. */
  readonly batch?: number | undefined;
  /** Called while a published model is downloaded. */
  readonly onDownload?: HubOptions['onProgress'];
}

/** What `dialect` may be: the dialects we know, and `residual`, each parameter by our own name. */
export const spellings: readonly string[] = [...dialectNames, ownSpelling];

/** What loading the source is told. */
export const loading = ({
  to,
  dialect,
  bf16,
  force,
  fold,
  trainingStep,
  batch,
  onProgress,
  onDownload,
  ...options
}: ConvertOptions): LoadOptions => ({
  ...options,
  onProgress: onDownload,
});

/** Options that the format would not obey are refused, not ignored. @throws ARGUMENT, UNKNOWN_NAME */
export function checkOptions(
  format: TargetFormat,
  { labels, preprocess, dialect, bf16, fold, trainingStep, batch }: ConvertOptions,
): void {
  const keeps = format === 'onnx' || containers[format].keepsRecord;
  const refuse = (what: string) => {
    throw new ResidualError('ARGUMENT', what, { format });
  };
  if ((labels || preprocess !== undefined) && !keeps)
    refuse(`labels and preprocessing are kept in .residual and .onnx files; ${format} has no place for them`);
  if (dialect !== undefined && format === 'onnx')
    refuse('an ONNX model has the names of its network; leave dialect out');
  if (dialect !== undefined && !spellings.includes(dialect)) throw unknownName('dialect', dialect, spellings);
  if (bf16 && (format === 'onnx' || format === 'keras'))
    refuse(`numbers of bf16 are kept in .residual, .safetensors and .pth files; ${format} keeps float32`);
  if (trainingStep && format !== 'onnx') refuse(`a step of training is written as ONNX; ${format} holds weights alone`);
  if (trainingStep && fold) refuse('a step of training measures its BatchNorms; leave fold out');
  if (batch !== undefined && !trainingStep) refuse('batch is for a step of training; other files take any batch');
  if (fold && format !== 'onnx') refuse(`fold is for ONNX files; ${format} keeps the network's own parameters`);
}
