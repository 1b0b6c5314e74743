// One contender of pictures.js: from photographs to labels.
//
//   node bench/contender-pictures.js residual ENGINE PRECISION BATCH
//   node bench/contender-pictures.js transformers DTYPE BATCH
//
// A question `{"files": […]}` is answered by the milliseconds they took and the best class of each.
import { createInterface } from 'node:readline';
import { modelFolder, pictureModel } from './picture-model.js';

const [kind, ...args] = process.argv.slice(2);
const top = 5;

async function residual(engine, precision, batch) {
  const { classify, createModel, load } = await import('../packages/residual/dist/index.js');
  const settings = { engine, precision, threads: Number(process.env.THREADS) };
  const quantised = precision === 'int8' ? process.env.RESNET50_INT8 : undefined;
  const model = quantised ? await load(quantised, settings) : await ofFloats(createModel, settings);
  await model.prepare();
  return {
    runtime: `residual, engine ${engine}`,
    async labels(files) {
      const found = [];
      for await (const { predictions, error } of classify.each(model, files, { batch: Number(batch), top })) {
        if (error) throw error;
        found.push(predictions[0].label);
      }
      return found;
    },
  };
}

async function ofFloats(createModel, settings) {
  const { graph, weights, record } = await pictureModel();
  if (settings.precision !== 'int8') return createModel(graph, record, { ...settings, weights });
  const { planFolding } = await import('../packages/residual/dist/graph/passes.js');
  const { anyScales } = await import('../packages/residual/dist/graph/eight-bits.js');
  const quantisation = anyScales(planFolding(graph, weights).graph);
  return createModel(graph, { ...record, quantisation }, { ...settings, weights });
}

/** As its documentation shows: a pipeline that is given files, one by one or some together. */
async function transformers(dtype, batch) {
  const { env, pipeline } = await import('@huggingface/transformers');
  env.allowRemoteModels = false;
  env.localModelPath = await modelFolder(dtype === 'q8');
  const classify = await pipeline('image-classification', 'resnet50', { dtype });
  const together = Number(batch);
  return {
    runtime: `transformers.js ${env.version}`,
    async labels(files) {
      const found = [];
      for (let i = 0; i < files.length; i += together) {
        const some = files.slice(i, i + together);
        const answers = await classify(together === 1 ? some[0] : some, { top_k: top });
        for (const answer of together === 1 ? [answers] : answers) found.push(answer[0].label);
      }
      return found;
    },
  };
}

const reply = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

try {
  const contender = await { residual, transformers }[kind](...args);
  reply({ runtime: contender.runtime });
  for await (const line of createInterface({ input: process.stdin })) {
    const { files } = JSON.parse(line);
    const start = performance.now();
    try {
      const labels = await contender.labels(files);
      reply({ milliseconds: performance.now() - start, labels });
    } catch (error) {
      reply({ error: error.message.split('\n')[0] });
    }
  }
  process.exit(0);
} catch (error) {
  console.error(error.message.split('\n')[0]);
  process.exit(1);
}
