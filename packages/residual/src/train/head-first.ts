import type { Dataset } from '../data/dataset.js';
import { channelsOf } from './channels.js';
import { courseOf, updateAt } from './course.js';
import { type FeatureOptions, featureFeed } from './features-once.js';
import { type Lesson, start } from './loop.js';
import { recipes } from './recipes.js';
import { presets, type Recipe } from './settings.js';
import { beforeClassifier, merged, type Student } from './transfer.js';

/**
 * The network with its classifier trained, all else as it was: by recipe `linear-probe`, on features that are computed
 * once. A classifier that begins with nothing sends noise back, which spoils features that were good (Kumar et al. 2022,
 * "LP-FT").
 *
 * @throws GRAPH when the network ends in no dense layer; ARGUMENT when the features take more than 4 GiB; what the
 * loader and the engine throw.
 */
export async function withTrainedHead(
  { student, seed, recipe: { headFirst, precision, loss, sampling, classWeights }, engine }: Lesson,
  { validation: _, ...data }: Dataset,
  { workers, strict, signal, onNote }: Pick<FeatureOptions, 'workers' | 'strict' | 'signal' | 'onNote'>,
): Promise<Student> {
  const { about: _about, ...probe } = recipes['linear-probe'];
  const freeze = beforeClassifier(student.graph);
  const own = { precision, loss, sampling, classWeights, epochs: headFirst, freeze };
  const recipe: Recipe = { ...presets, ...probe, ...own };
  const channels = channelsOf(student);
  const options = { seed, channels, engine, workers, strict, signal, onNote };
  const { feed, head } = await featureFeed(student, data, recipe, options);
  const course = courseOf(recipe, feed.pictures);
  const learning = { student: { ...student, graph: head }, recipe, course, engine };
  const { trainer } = await start(learning, { epoch: 0, freeze: '' }, student.weights);
  try {
    let updates = 0;
    for (let epoch = 0; epoch < course.epochs; epoch++)
      for await (const { images, targets } of feed.train(epoch, 0, course.batch)) {
        const inputs = { [head.inputs[0].name]: images, targets };
        await trainer.step(inputs, updateAt(course, recipe, updates++, []), { signal });
      }
    return { ...student, weights: merged(student.weights, (await trainer.save()).weights) };
  } finally {
    await trainer.dispose();
  }
}
