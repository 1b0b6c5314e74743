// A residual network learns from nothing but pictures: the whole loop, with nothing hidden.
//
//   npx tsc -b && node examples/dist/train-from-scratch.js flowers/ 20       one folder a class; 20 epochs
//
// `train` of residual/train does the same and more: augmentation by recipe, checkpoints, resuming, reports.
import { pathToFileURL } from 'node:url';
import { build, classify, createModel, initialise, preset } from 'residual';
import { batches, epochOrder, folder, parseAugment, rateAt, startTrainer, trainingStep } from 'residual/train';

/** Trains a small ResNet on 32 × 32 pixels and answers with its share of right answers on pictures it never saw. */
export async function trainFromScratch(path: string, epochs: number, say: (line: string) => void = console.log) {
  const seed = 1;
  const data = await folder(path, { validation: 0.2, seed });
  const batch = Math.min(32, data.train.length);
  const classes = data.classes.length;

  // The network: a stem, three stages of one residual block, the mean of every channel, a classifier.
  const graph = build('resnet20', { depths: [1, 1, 1], classes });
  const plan = preset('cifar', { height: 32, width: 32 });

  // One step is one graph: pictures and targets go in, the loss and the gradient of every parameter come out.
  const step = trainingStep(graph, { shape: [batch, 3, 32, 32], loss: 'crossEntropy', trains: () => true });
  const start = initialise(graph, { seed });
  const trainer = await startTrainer('auto', step, start, {
    optimizer: { name: 'sgd', momentum: 0.9, nesterov: true, decay: 5e-4 },
    groups: [{ parameters: step.trained.map(({ name }) => name), rate: 1, decay: 1 }],
  });

  const perEpoch = Math.floor(data.train.length / batch);
  const augment = parseAugment('pad-crop 4, flip');
  let update = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    const order = epochOrder(data.train, classes, { seed, epoch, wholeBatches: batch });
    let sum = 0;
    for await (const { images, targets } of batches(data.train, {
      order,
      batch,
      plan,
      augment,
      classes,
      seed,
      epoch,
      cache: 'ram',
      full: true,
    })) {
      // Up from a tenth of the rate during the first epoch, then down along half a cosine.
      const at = { update: update++, perEpoch, epochs };
      const rate = rateAt(0.05, { name: 'cosine', end: 0 }, { epochs: 1, from: 0.1 }, at);
      const { loss } = await trainer.step({ input: images, targets }, { rate });
      sum += loss;
    }
    say(`epoch ${epoch + 1} of ${epochs}: loss ${(sum / perEpoch).toFixed(3)}`);
  }

  // What was learnt goes back among the weights, and the network classifies like any other.
  const { weights } = await trainer.save();
  await trainer.dispose();
  const record = {
    architecture: graph.name,
    preprocess: 'cifar',
    plan,
    classes: data.classes.map((label) => ({ label })),
  };
  await using model = createModel(graph, record, { weights: new Map([...start, ...weights]) });
  const unseen = data.validation ?? [];
  let right = 0;
  let seen = 0;
  for await (const row of classify.each(
    model,
    unseen.map(({ id }) => id),
    { top: 1 },
  ))
    if (row.predictions?.[0].index === unseen[seen++].target) right++;
  return { accuracy: right / unseen.length, pictures: unseen.length, classes: data.classes };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [, , path, epochs = '20'] = process.argv;
  if (path === undefined) throw new Error('usage: node train-from-scratch.js FOLDER [EPOCHS]');
  const { accuracy, pictures } = await trainFromScratch(path, Number(epochs));
  console.log(`${(100 * accuracy).toFixed(1)} % of ${pictures} unseen pictures`);
}
