import { expect, test } from 'vitest';
import { foldedGraph, prune } from '../../graph/passes.js';
import { build, type FamilyName, family } from '../../models/resnet.js';
import { sketch } from '../sketch.js';
import { direct, type Job, makeConvolution, type Variant, ways } from './convolve.js';
import { dnnl, withLibrary } from './dnnl.test.helper.js';
import { slowLayers } from './slow.js';

const known = new Map<string, Variant>();
/** Where the clock may lead: as far from channels-last as there are fast kernels. */
function blocked(job: Job): Variant {
  const isFast = (variant: Variant): boolean => {
    const primitive = makeConvolution(dnnl, job, variant);
    primitive?.destroy();
    return primitive?.implementation.startsWith('ref') === false;
  };
  const key = JSON.stringify(job);
  const variant = known.get(key) ?? [ways.winograd(job), ways.blocked()].find(isFast) ?? direct;
  known.set(key, variant);
  return variant;
}

withLibrary('every layer of the family has a fast kernel, at the size it is built for', () => {
  test.each(Object.keys(family) as FamilyName[])('%s', (name) => {
    // A stage's first block, its last and one between: the others between are the same once more.
    const depths = family[name].depths.map((depth) => Math.min(depth, 3));
    const graph = foldedGraph(prune(build(name, { depths })));
    expect(slowLayers(dnnl, graph, 'f32')).toEqual([]);
    expect(slowLayers(dnnl, graph, 'f32', blocked)).toEqual([]);
    if (dnnl.processor.bf16) {
      expect(slowLayers(dnnl, graph, 'bf16')).toEqual([]);
      expect(slowLayers(dnnl, graph, 'bf16', blocked)).toEqual([]);
    }
    if (dnnl.processor.vnni) expect(slowLayers(dnnl, graph, 'int8')).toEqual([]);
  });

  test('and those without one are told', () => {
    const net = sketch('odd ones', [1, 3, 8, 8]);
    const nearest = { mode: 'nearest', coordinates: 'asymmetric', nearest: 'floor' } as const;
    const large = net.add('resize', [net.image], { to: { sizes: [16, 16] }, ...nearest }, [], 'large');
    expect(slowLayers(dnnl, net.finish({ large }), 'f32')).toEqual(['large (plain loops)']);
  });
});
