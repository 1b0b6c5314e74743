import { ResidualError } from '../errors.js';
import { movesPixels, type Plan } from '../image/plan.js';
import { preset } from '../image/presets.js';
import type { ClassLabel } from '../models/classes.js';
import type { Shape } from '../tensor.js';
import { parameterShape, recogniseNames } from '../weights/names.js';
import { recogniseArchitecture } from '../weights/recognise.js';
import { readSideFiles, type SideFiles } from '../weights/side-files.js';
import { type ContainerName, containers } from '../weights/write.js';
import { customaryPreset } from './custom.js';
import type { ModelRecord } from './model.js';
import type { Origin } from './origin.js';
import type { Understanding } from './understand.js';

// Who reads a file that says nothing of pictures prepares them by the custom of those who spell its names.

/** What stands beside a file to be, or why nobody can read it. */
export type Beside = SideFiles | ResidualError | undefined;

/** How that differs from what the model wants. */
export interface OtherPreparation {
  /** `whoever reads names of detectron2 prepares pictures by preset "msra", and this model wants "torchvision"` */
  readonly contrast: string;
  /** Whether the values differ in their channels' order or their range, so that answers are wrong; else crop, filter or means. */
  readonly wrong: boolean;
}

/**
 * How readers of these names would prepare pictures, where it is not as the model wants; undefined where it is, or where
 * nobody knows the names.
 * @param there what stands beside the new file, which goes before the custom
 */
export function otherPreparation(
  tensors: ReadonlyMap<string, { readonly shape: Shape }>,
  model: Pick<ModelRecord, 'preprocess' | 'plan'> | undefined,
  there?: Beside,
): OtherPreparation | undefined {
  if (!model) return undefined;
  const { plan, preprocess } = model;
  const naming = recogniseNames([...tensors.keys()]);
  const read =
    naming &&
    recogniseArchitecture(naming, (parameter) => {
      const found = tensors.get(naming.tensors.get(parameter) ?? '');
      return found && parameterShape(found.shape, naming.layout);
    });
  if (!read) return undefined;
  const name = customaryPreset(read.config, naming);
  const side = there instanceof ResidualError ? undefined : there;
  const [height, width] = side?.size ?? [];
  const foreign = side?.plan?.(height && width ? { height, width } : sidesOf(plan));
  const custom = foreign ?? preset(name, sidesOf(plan));
  if (JSON.stringify(custom.slice(1)) === JSON.stringify(plan.slice(1))) return undefined;
  const wrong = !sameValues(custom, plan);
  if (!wrong && samePixels(custom, plan) && sameValues(custom, plan, 1e-6)) return undefined;
  const wants = preprocess === 'custom' ? 'a plan of its own' : `"${preprocess}"`;
  const others = foreign
    ? `${side?.from} in the folder it goes to has another preprocessing`
    : `whoever reads names of ${naming.dialect} prepares pictures by preset "${name}"`;
  return { contrast: `${others}, and this model wants ${wants}`, wrong };
}

/** Readers take the labels that stand beside the new file for its own. */
export const labelsNote = (there: Beside, classes: readonly ClassLabel[] | undefined): string[] =>
  !there ||
  there instanceof ResidualError ||
  !there.classes ||
  JSON.stringify(there.classes) === JSON.stringify(classes)
    ? []
    : [`${there.from} in the folder it goes to has labels of its own, which readers take for those of this file`];

/** The size that a plan brings pictures to; where it says none, any will do. */
function sidesOf(plan: Plan): { height: number; width: number } {
  const last = plan.findLast((step) => step.step === 'centerCrop' || step.step === 'resize');
  const { height, width } = last ?? { height: 224, width: 224 };
  return { height, width };
}

/** What is known of pictures from beside the file: of a published model, or from its side files. */
export async function publishedPlan(
  from: unknown,
  origin: Origin | undefined,
  { architecture }: Understanding,
): Promise<Pick<ModelRecord, 'preprocess' | 'plan'> | undefined> {
  const beside = origin ? undefined : await readSideFiles(from);
  const side = origin?.network?.size ?? beside?.size ?? architecture?.config.size ?? 224;
  const [height, width] = typeof side === 'number' ? [side, side] : side;
  if (!origin) {
    const plan = beside?.plan?.({ height, width });
    return plan && { preprocess: 'custom', plan };
  }
  const { preprocess } = origin;
  if (preprocess === undefined) return undefined;
  return typeof preprocess === 'string'
    ? { preprocess, plan: preset(preprocess, { height, width }) }
    : { preprocess: 'custom', plan: preprocess({ height, width }) };
}

/** What to tell the user of it; `kept` says that the file has the record. */
export const preparedNote = (format: ContainerName, { contrast }: OtherPreparation, kept = false): string =>
  `${contrast}; ${kept ? 'its header has the plan, which residual reads' : `a ${containers[format].endings[0]} file cannot say so, tell whoever uses it`}`;

/** The answers would be wrong, and nothing would say so. */
export const misprepared = (name: string, format: ContainerName, { contrast }: OtherPreparation): ResidualError =>
  new ResidualError(
    'WEIGHTS_MISMATCH',
    `${name}: ${contrast}: other values, so that answers would be wrong, and a ${containers[format].endings[0]} file cannot say so; write .residual, .safetensors or .onnx, which keep the plan`,
    { file: name, format },
  );

const samePixels = (a: Plan, b: Plan): boolean =>
  JSON.stringify(a.filter(movesPixels)) === JSON.stringify(b.filter(movesPixels));

/** Whether black and white become the same values in each channel, but for a share of the way between the two. */
function sameValues(a: Plan, b: Plan, share = 0.05): boolean {
  const [one, other] = [channels(a), channels(b)];
  return one.every(({ from, black, white }, i) => {
    const near = (x: number, y: number) => Math.abs(x - y) <= share * Math.abs(white - black);
    return from === other[i].from && near(black, other[i].black) && near(white, other[i].white);
  });
}

/** Each channel of the input: which of R, G and B it is, and what 0 and 255 become. */
function channels(plan: Plan): { from: number; black: number; white: number }[] {
  let all = [0, 1, 2].map((from) => ({ from, black: 0, white: 255 }));
  for (const step of plan) {
    const change = (f: (value: number, channel: number) => number) => {
      all = all.map(({ from, black, white }, i) => ({ from, black: f(black, i), white: f(white, i) }));
    };
    if (step.step === 'reverseChannels') all = all.toReversed();
    else if (step.step === 'scale') change((value) => value * step.factor + step.offset);
    else if (step.step === 'normalize') change((value, i) => (value - step.mean[i]) / step.deviation[i]);
  }
  return all;
}
