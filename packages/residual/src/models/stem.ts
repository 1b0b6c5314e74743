import { avgPool, batchNorm, blurPool, conv2d, input, maxPool, relu, type Value, zeroPad } from '../graph/build.js';
import type { ResNetConfig } from './config.js';
import { layerNames } from './layer-names.js';

/** What stands before the blocks: a quarter of the size, or with the stem "cifar" the size itself. */
export function stem(config: ResNetConfig): Value {
  const [height, width] = typeof config.size === 'number' ? [config.size, config.size] : config.size;
  const image = input({ channels: config.channels, height, width });
  if (config.stem === 'cifar') return cifar(image, config);
  return pool(config.stem === 'imagenet' ? imagenet(image, config) : deep(image, config), config);
}

function cifar(image: Value, { width, convBias, epsilon, spelling }: ResNetConfig): Value {
  const { stem } = layerNames[spelling];
  const x = conv2d(image, width, { name: stem.conv, kernel: 3, padding: 1, bias: convBias !== false });
  return relu(batchNorm(x, { name: stem.norm, epsilon }), { name: stem.relu });
}

/** 7×7 with stride 2. */
function imagenet(image: Value, { width, convBias, epsilon, spelling, block }: ResNetConfig): Value {
  const { stem } = layerNames[spelling];
  const padded = stem.pad ? zeroPad(image, 3, { name: stem.pad }) : image;
  const padding = stem.pad ? 0 : 3;
  const x = conv2d(padded, width, { name: stem.conv, kernel: 7, stride: 2, padding, bias: convBias !== false });
  return block === 'preActivation' ? x : relu(batchNorm(x, { name: stem.norm, epsilon }), { name: stem.relu });
}

/** Three 3×3, the first with stride 2, under timm's names. */
function deep(image: Value, { stem, stemWidth, convBias: bias, epsilon }: ResNetConfig): Value {
  const first = stem === 'deepTiered' ? (3 * stemWidth) / 4 : stemWidth;
  const three = { kernel: 3, padding: 1, bias: bias !== false };
  let x = conv2d(image, first, { ...three, name: 'conv1.0', stride: 2 });
  x = relu(batchNorm(x, { name: 'conv1.1', epsilon }), { name: 'conv1.2' });
  x = conv2d(x, stemWidth, { ...three, name: 'conv1.3' });
  x = relu(batchNorm(x, { name: 'conv1.4', epsilon }), { name: 'conv1.5' });
  x = conv2d(x, 2 * stemWidth, { ...three, name: 'conv1.6' });
  return relu(batchNorm(x, { name: 'bn1', epsilon }), { name: 'relu' });
}

const around = { padded: 1, zeroPadded: 0, unpadded: 0, ceil: [0, 0, 1, 1] } as const;

/** Half the size again, by a 3×3 max pool or what stands in its place. */
function pool(x: Value, { stemPool, antiAlias, convBias, epsilon, spelling }: ResNetConfig): Value {
  const { stem } = layerNames[spelling];
  if (stemPool === 'conv') {
    const channels = x.shape[1];
    const y = conv2d(x, channels, { name: 'maxpool.0', kernel: 3, stride: 2, padding: 1, bias: convBias !== false });
    return relu(batchNorm(y, { name: 'maxpool.1', epsilon }), { name: 'maxpool.2' });
  }
  if (antiAlias === 'mean') return avgPool(x, { name: stem.pool, kernel: 2 });
  if (antiAlias === 'blur')
    return blurPool(maxPool(x, { name: `${stem.pool}.0`, kernel: 3, stride: 1, padding: 1 }), {
      name: `${stem.pool}.1`,
    });
  const from = stemPool === 'zeroPadded' ? zeroPad(x, 1, { name: stem.poolPad ?? 'pool_pad' }) : x;
  return maxPool(from, { name: stem.pool, kernel: 3, stride: 2, padding: around[stemPool] });
}
