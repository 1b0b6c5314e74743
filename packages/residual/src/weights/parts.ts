import { ResidualError, unknownName } from '../errors.js';
import type { Checkpoint } from './checkpoint.js';
import { recogniseNames } from './names.js';

/*
 * A checkpoint of a training run holds more than one network's weights: the weights as they are, their average over
 * the run (EMA), the optimiser's moments. Tensors are named by the path of dictionaries to them, so a part is what
 * stands below one top-level key.
 */

/** Averages, which is what their writers evaluate: timm (`load_state_dict` takes them first), torchvision, DINO. */
const averages = ['state_dict_ema', 'model_ema', 'ema_model', 'ema', 'teacher'];

/** In this order, behind the averages. OpenMMLab stores the average as `state_dict` and the rest as `ema_state_dict`. */
const weights = [
  'state_dict',
  'model_state_dict',
  'model_state',
  'model',
  'net',
  'network',
  'student',
  'ema_state_dict',
];

const sets = [...averages, ...weights];

const trainingState = /optim|sched|scaler|loss|criterion|queue/i;

/** Counts that averaging keeps beside the weights. */
const counters = ['n_averaged', 'num_updates', 'updates'];

/** The tensors below one top-level key. */
export interface Part {
  readonly name: string;
  readonly tensors: number;
}

/** A checkpoint narrowed to one set of weights. */
export interface Chosen {
  /** The same file, of whose tensors only those of the part are known; names are the file's own. */
  readonly checkpoint: Checkpoint;
  /** The part that was taken; absent where the file is one set of weights. */
  readonly part?: string;
  /** The other sets of weights. */
  readonly others: readonly Part[];
  /** Training state and whatever else stands beside the weights. */
  readonly leftOut: readonly Part[];
}

/**
 * Takes one set of weights out of a training checkpoint: the one asked for, else the average over the run where there
 * is one, else the weights as they were last. A file that is one set of weights stays as it is.
 * @param part a top-level key of the file, or the path of dictionaries to the set: `model`, `state_dict.student`.
 * @throws UNKNOWN_NAME when the file has nothing of that name.
 */
export function choosePart(checkpoint: Checkpoint, part?: string): Chosen {
  const counts = new Map<string, number>();
  for (const name of checkpoint.tensors.keys()) {
    const dot = name.indexOf('.');
    if (dot > 0) counts.set(name.slice(0, dot), (counts.get(name.slice(0, dot)) ?? 0) + 1);
  }
  const parts = [...counts].map(([name, tensors]) => ({ name, tensors }));
  // An ONNX model says itself what belongs to it.
  if (checkpoint.network && part === undefined) return { checkpoint, others: [], leftOut: [] };
  if (part === undefined) {
    const found = customary(parts, checkpoint.tensors.size);
    if (!found.length || (found.length === 1 && found[0].tensors === checkpoint.tensors.size))
      return { checkpoint, others: [], leftOut: [] };
    return narrowed(checkpoint, found[0].name, found.slice(1), parts);
  }
  const inside = [...checkpoint.tensors.keys()].some((name) => name.startsWith(`${part}.`));
  if (!inside && recogniseNames([...checkpoint.tensors.keys()])?.prefix === '')
    throw new ResidualError('UNKNOWN_NAME', `no part "${part}": the file holds one set of weights; leave part out`, {
      part,
    });
  if (!inside) throw unknownName('part of the checkpoint', part, counts.keys());
  const others = customary(parts, checkpoint.tensors.size).filter(({ name }) => name !== part);
  return narrowed(checkpoint, part, others, parts);
}

/** The sets of weights, best first. None where other tensors outnumber them: `ema.decay` makes no training checkpoint. */
function customary(parts: readonly Part[], all: number): Part[] {
  const found = sets.flatMap((name) => parts.filter((part) => part.name === name));
  const most = Math.max(...found.map(({ tensors }) => tensors));
  const inSets = found.reduce((sum, { tensors }) => sum + tensors, 0);
  const state = parts.reduce((sum, { name, tensors }) => sum + (trainingState.test(name) ? tensors : 0), 0);
  if (all - inSets - state >= inSets) return [];
  return found.filter(({ tensors }) => 2 * tensors >= most);
}

function narrowed(checkpoint: Checkpoint, part: string, others: readonly Part[], parts: readonly Part[]): Chosen {
  const unneeded = new Set(counters.map((name) => `${part}.${name}`));
  const tensors = new Map(
    [...checkpoint.tensors].filter(([name]) => name.startsWith(`${part}.`) && !unneeded.has(name)),
  );
  const taken = new Set([part.replace(/\..*/, ''), ...others.map(({ name }) => name)]);
  return {
    checkpoint: { ...checkpoint, tensors },
    part,
    others,
    leftOut: parts.filter(({ name }) => !taken.has(name)),
  };
}

/** What to tell the user of a choice. */
export function partNotes({ part, others, leftOut }: Chosen, file: string): string[] {
  const notes: string[] = [];
  if (part !== undefined && others.length) {
    const average = averages.includes(part) ? ', the average over the training run' : '';
    const names = others.map(({ name }) => `"${name}"`).join(', ');
    notes.push(
      `${file}: holds several sets of weights; took "${part}"${average}; the option part takes another: ${names}`,
    );
  }
  if (leftOut.length) notes.push(`${file}: left out what is no part of the weights: ${listParts(leftOut)}`);
  return notes;
}

/** `optimizer (161 tensors), queue (1 tensor)` */
function listParts(parts: readonly Part[]): string {
  const shown = parts.slice(0, 4).map(({ name, tensors }) => `${name} (${tensors} tensor${tensors === 1 ? '' : 's'})`);
  return `${shown.join(', ')}${parts.length > 4 ? ', …' : ''}`;
}
