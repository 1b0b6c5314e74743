/**
 * How three code bases spell the layers of one and the same network. Weight files name their tensors after these, so
 * a network built in a spelling reads the files of that spelling without a map.
 */
export interface LayerNames {
  stem: { pad?: string; conv: string; norm: string; relu: string; poolPad?: string; pool: string };
  /** The block's own name; `stage` counts from 1, `index` from 0. */
  block(stage: number, index: number): string;
  /** Layers inside a block. `unit` counts the main branch's convolutions from 1; 0 is the shortcut's projection. */
  conv(block: string, unit: number): string;
  norm(block: string, unit: number): string;
  relu(block: string, unit: number): string;
  add(block: string): string;
  /** The block's last ReLU. */
  out(block: string): string;
  pooled: string;
  classifier(classes: number): string;
}

export type Spelling = 'torchvision' | 'keras' | 'keras2015';

const letters = 'abcdefghijklmnopqrstuvwxyz';

/** `b`, then for the long stages of ResNet-101 and 152 `b1` … as He's Caffe files count. */
const letter = (index: number): string => letters[index] ?? `b${index}`;

export const layerNames: Record<Spelling, LayerNames> = {
  /** `layer1.0.conv1`, `layer1.0.downsample.0`, `fc`: PyTorch's module paths. */
  torchvision: {
    stem: { conv: 'conv1', norm: 'bn1', relu: 'relu', pool: 'maxpool' },
    block: (stage, index) => `layer${stage}.${index}`,
    conv: (block, unit) => (unit ? `${block}.conv${unit}` : `${block}.downsample.0`),
    norm: (block, unit) => (unit ? `${block}.bn${unit}` : `${block}.downsample.1`),
    relu: (block, unit) => `${block}.relu${unit}`,
    add: (block) => `${block}.add`,
    out: (block) => `${block}.relu`,
    pooled: 'avgpool',
    classifier: () => 'fc',
  },
  /** `conv2_block1_1_conv`, `predictions`: keras.applications since 2019. */
  keras: {
    stem: {
      pad: 'conv1_pad',
      conv: 'conv1_conv',
      norm: 'conv1_bn',
      relu: 'conv1_relu',
      poolPad: 'pool1_pad',
      pool: 'pool1_pool',
    },
    block: (stage, index) => `conv${stage + 1}_block${index + 1}`,
    conv: (block, unit) => `${block}_${unit}_conv`,
    norm: (block, unit) => `${block}_${unit}_bn`,
    relu: (block, unit) => `${block}_${unit}_relu`,
    add: (block) => `${block}_add`,
    out: (block) => `${block}_out`,
    pooled: 'avg_pool',
    classifier: () => 'predictions',
  },
  /** `res2a_branch2a`, `bn2a_branch2a`, `fc1000`: He's Caffe names, kept by Keras 2015 and the tutorials. */
  keras2015: {
    stem: { pad: 'conv1_pad', conv: 'conv1', norm: 'bn_conv1', relu: 'conv1_relu', pool: 'pool1' },
    block: (stage, index) => `${stage + 1}${letter(index)}`,
    conv: (block, unit) => `res${block}_branch${unit ? `2${letters[unit - 1]}` : '1'}`,
    norm: (block, unit) => `bn${block}_branch${unit ? `2${letters[unit - 1]}` : '1'}`,
    relu: (block, unit) => `res${block}_branch2${letters[unit - 1]}_relu`,
    add: (block) => `res${block}`,
    out: (block) => `res${block}_relu`,
    pooled: 'avg_pool',
    classifier: (classes) => `fc${classes}`,
  },
};
