import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { type Model, ResidualError } from 'residual';
import type { Dataset } from 'residual/train';
import type { Context } from './context.js';
import { fetching } from './fetching.js';

/** What a run begins with, as it was asked for; kept in config.json, so that it can be opened again. */
export interface Begun {
  readonly data: string;
  readonly validation?: string | undefined;
  readonly seed: number;
}

/** The same from wherever the run is gone on with. */
export const lasting = ({ data, validation, seed }: Begun): Begun => ({
  data: resolve(data),
  validation: validation !== undefined && existsSync(validation) ? resolve(validation) : validation,
  seed,
});

/** Opens the pictures of a run. @throws as `open` of residual/train; ARGUMENT */
export async function openData({ data, validation, seed }: Begun): Promise<Dataset> {
  const { open } = await import('residual/train');
  if (validation === 'test') {
    const found = await open(data, { seed });
    if (!found.test)
      throw new ResidualError('ARGUMENT', `${data}: has no test pictures to judge by (--validation test)`);
    return { ...found, validation: found.test };
  }
  return open(data, { ...(validation !== undefined && { validation: someOf(validation) }), seed });
}

/** `0.2` and `500` are a share and a number; else it is a file of paths. */
function someOf(text: string): number | string {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value)) return text;
  if (value > 0) return value;
  throw new ResidualError('ARGUMENT', `expected a share such as 0.2 for --validation but received ${text}`);
}

interface Wanted {
  readonly model?: string | undefined;
  readonly from?: string | undefined;
  readonly preprocess?: string | undefined;
  readonly size?: number | readonly [height: number, width: number] | undefined;
  readonly engine?: 'auto' | 'onnx' | 'onednn' | 'reference';
  readonly threads?: number | undefined;
  readonly seed: number;
  readonly offline?: true;
  readonly acceptLicense?: true;
}

/** The network that a run begins with: weights by `from`, else a member of the family with random ones. */
export async function openNetwork(wanted: Wanted, classes: number, context: Context): Promise<Model> {
  const { model: name, from, preprocess, size, engine, threads, seed } = wanted;
  const { build, createModel, family, load, preset } = await import('residual');
  const given = { engine, threads, warn: context.note };
  if (from !== undefined) {
    const { stop, ...hub } = await fetching(wanted, context);
    try {
      const model = await load(from, { ...given, ...hub, architecture: name, preprocess, size });
      for (const note of model.notes) context.note(note);
      return model;
    } finally {
      stop();
    }
  }
  if (name === undefined)
    throw new ResidualError(
      'ARGUMENT',
      'name the weights to begin with (--from resnet18) or a network to begin from scratch (--model resnet20)',
    );
  const changes = { classes, ...(size !== undefined && { size }) };
  const graph = build(name, changes);
  const config = { ...family[name as keyof typeof family], ...changes };
  const [, , height, width] = graph.inputs[0].shape;
  const how = preprocess ?? (config.stem === 'cifar' ? 'cifar' : 'torchvision');
  const record = { architecture: name, config, preprocess: how, plan: preset(how, { height, width }) };
  return createModel(graph, record, { ...given, name, seed });
}
