import type { FamilyName } from '../models/resnet.js';
import type { HubEntry } from './catalogue.js';

const folder = 'https://storage.googleapis.com/tensorflow/keras-applications/resnet';

interface Row {
  readonly name: string;
  readonly architecture: FamilyName;
  readonly url?: string;
  /** MD5 of the file with its classifier, and of the one without. */
  readonly md5: readonly [top: string, notop: string];
  /** As Keras counts: moving means and variances are parameters. */
  readonly parameters: number;
  readonly top: readonly [top1: number, top5: number] | undefined;
  /** Of the file with its classifier, where a download's log states it. */
  readonly bytes?: number;
}

/** keras/src/applications/resnet.py (`WEIGHTS_HASHES`), keras.io/api/applications (accuracies, parameters). */
const rows: readonly Row[] = [
  {
    name: 'resnet50',
    architecture: 'keras-resnet50',
    md5: ['2cb95161c43110f7111970584f804107', '4d473c1dd8becc155b73f8504c6f6626'],
    parameters: 25_636_712,
    top: [74.9, 92.1],
    bytes: 102_967_424,
  },
  {
    name: 'resnet101',
    architecture: 'keras-resnet101',
    md5: ['f1aeb4b969a6efcfb50fad2f0c20cfc5', '88cf7a10940856eca736dc7b7e228a21'],
    parameters: 44_707_176,
    top: [76.4, 92.8],
    bytes: 179_648_224,
  },
  {
    name: 'resnet152',
    architecture: 'keras-resnet152',
    md5: ['100835be76be38e30d865e96f2aaae62', 'ee4c566cf9a93f14d82f913c2dc6dd0c'],
    parameters: 60_419_944,
    top: [76.6, 93.1],
  },
  {
    name: 'resnet50v2',
    architecture: 'keras-resnet50v2',
    md5: ['3ef43a0b657b3be2300d5770ece849e0', 'fac2f116257151a9d068a22e544a4917'],
    parameters: 25_613_800,
    top: [76, 93],
  },
  {
    name: 'resnet101v2',
    architecture: 'keras-resnet101v2',
    md5: ['6343647c601c52e1368623803854d971', 'c0ed64b8031c3730f411d2eb4eea35b5'],
    parameters: 44_675_560,
    top: [77.2, 93.8],
  },
  {
    name: 'resnet152v2',
    architecture: 'keras-resnet152v2',
    md5: ['a49b44d1979771252814e80f8ec446f9', 'ed17cf2e0169df9d443503ef94b23b33'],
    parameters: 60_380_648,
    top: [78, 94.2],
  },
  {
    // The file of 2015, which Keras took from fchollet/deep-learning-models until version 2.1.
    name: 'resnet50-2015',
    architecture: 'keras2015-resnet50',
    url: 'https://github.com/fchollet/deep-learning-models/releases/download/v0.2/resnet50_weights_tf_dim_ordering_tf_kernels',
    md5: ['a7b3fe01876f51b976af0dea6bc144eb', 'a268eb855778b3df3c7506639542a6af'],
    parameters: 25_636_712,
    top: undefined,
    bytes: 102_853_048,
  },
];

/** Weights and bias of the classifier behind 2048 features. */
const classifier = 2048 * 1000 + 1000;

export const keras: readonly HubEntry[] = rows.flatMap(({ name, architecture, url, md5, parameters, top, bytes }) => {
  const stem = url ?? `${folder}/${name}_weights_tf_dim_ordering_tf_kernels`;
  const common = {
    collection: 'keras',
    architecture,
    // keras-team/keras is Apache-2.0; fchollet/deep-learning-models is MIT.
    licence: url ? 'MIT' : 'Apache-2.0',
    size: 224,
    preprocess: name.endsWith('v2') ? 'tf' : 'caffe',
  } as const;
  return [
    {
      ...common,
      id: `keras/${name}`,
      url: `${stem}.h5`,
      md5: md5[0],
      ...(bytes ? { bytes, exact: true } : { bytes: parameters * 4 }),
      parameters,
      classes: 1000,
      metrics: top ? [{ top1: top[0], top5: top[1], size: 224 }] : [],
    },
    {
      ...common,
      id: `keras/${name}-notop`,
      url: `${stem}_notop.h5`,
      md5: md5[1],
      bytes: (parameters - classifier) * 4,
      parameters: parameters - classifier,
      classes: 0,
      metrics: [],
    },
  ] satisfies HubEntry[];
});
