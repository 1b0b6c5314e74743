// The ResNet-50 of pictures.js, for us and for transformers.js: from `RESNET50`, a weight file, or random.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { exportOnnx, imagenetClasses, load, preset } from '../packages/residual/dist/index.js';
import { build, cache, quantize } from './networks.js';

/** Graph, weights and record. */
export async function pictureModel() {
  const file = process.env.RESNET50;
  if (file) {
    const { graph, weights, record } = await load(file, { preprocess: 'torchvision' });
    return { graph, weights: await weights(), record };
  }
  const { graph, weights } = await build('resnet50');
  const plan = preset('torchvision', { height: 224, width: 224 });
  const record = { architecture: 'resnet50', preprocess: 'torchvision', plan, classes: await imagenetClasses() };
  return { graph, weights, record };
}

/** Where transformers.js finds `resnet50`: its settings and ONNX files under the names it looks for. */
export async function modelFolder(quantized) {
  const folder = join(cache, `transformers ${basename(process.env.RESNET50 ?? 'random')}`);
  const model = join(folder, 'resnet50');
  const plain = join(model, 'onnx', 'model.onnx');
  mkdirSync(join(model, 'onnx'), { recursive: true });
  if (!existsSync(plain)) {
    const { graph, weights, record } = await pictureModel();
    const [input] = graph.inputs;
    const renamed = { ...graph, inputs: [{ ...input, name: 'pixel_values' }] };
    const id2label = Object.fromEntries(record.classes.map(({ label }, i) => [i, label]));
    const label2id = Object.fromEntries(record.classes.map(({ label }, i) => [label, i]));
    const settings = {
      'config.json': { model_type: 'resnet', architectures: ['ResNetForImageClassification'], id2label, label2id },
      'preprocessor_config.json': {
        image_processor_type: 'BitImageProcessor',
        do_resize: true,
        size: { shortest_edge: 256 },
        resample: 2,
        do_center_crop: true,
        crop_size: { height: 224, width: 224 },
        do_rescale: true,
        rescale_factor: 1 / 255,
        do_normalize: true,
        image_mean: [0.485, 0.456, 0.406],
        image_std: [0.229, 0.224, 0.225],
      },
    };
    for (const [name, value] of Object.entries(settings)) writeFileSync(join(model, name), JSON.stringify(value));
    await exportOnnx({ graph: renamed, weights, record }, plain, { fold: true });
  }
  if (quantized) quantize(plain, join(model, 'onnx', 'model_quantized.onnx'));
  return folder;
}
