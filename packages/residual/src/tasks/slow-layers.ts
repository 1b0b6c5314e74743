import { type Precision, slowLayers } from '../engines/index.js';
import { ResidualError } from '../errors.js';
import { foldedGraph, prune } from '../graph/passes.js';
import { family, type ResNetConfig, resnet } from '../models/resnet.js';

/** Blocks of a stage that differ from each other: the first from the rest, in Keras' V2 also the last. */
const unlike = ({ block }: ResNetConfig): number => (block === 'preActivation' ? 3 : 2);

/** Layers of the family without a fast kernel, `resnet18: conv1 (ref:any)`; or why there is none for any. */
export type FamilyKernels = { readonly slow: readonly string[] } | { readonly reason: string };

/**
 * For which layers of the family oneDNN has only slow kernels on this machine, by precision: every layer that differs
 * from the others is asked for, at the size its network is built for. Takes a second or two.
 * @throws what engine "onednn" throws where it is not there.
 */
export async function familyKernels(): Promise<Record<'f32' | 'bf16' | 'int8', FamilyKernels>> {
  // Networks that differ in depth alone are one here.
  const short = new Map<string, string>();
  for (const [name, config] of Object.entries<ResNetConfig>(family)) {
    const few = { ...config, depths: config.depths.map((blocks) => Math.min(unlike(config), blocks)) };
    short.set(JSON.stringify(few), name);
  }
  const graphs = Array.from(short, ([config, name]) => foldedGraph(prune(resnet(JSON.parse(config), name))));
  const ask = async (precision: Precision): Promise<FamilyKernels> => {
    try {
      const layers = await Promise.all(graphs.map((graph) => slowLayers(graph, precision)));
      return { slow: graphs.flatMap(({ name }, i) => layers[i].map((layer) => `${name}: ${layer}`)) };
    } catch (error) {
      if (!(error instanceof ResidualError && error.code === 'ENGINE')) throw error;
      return { reason: error.message };
    }
  };
  return { f32: await ask('f32'), bf16: await ask('bf16'), int8: await ask('int8') };
}
