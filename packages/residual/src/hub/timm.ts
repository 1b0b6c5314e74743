import type { Filter } from '../image/plan.js';
import type { CropPlan, HubEntry, Metric } from './catalogue.js';
import { timmRows } from './timm-rows.js';

const releases = 'https://github.com/huggingface/pytorch-image-models/releases/download';

/** Where timm/models/resnet.py finds a file. Its name ends in the first eight digits of its SHA-256. */
const hosts: Record<string, string> = {
  main: `${releases}/v0.1-weights`,
  rsb: `${releases}/v0.1-rsb-weights`,
  rs: `${releases}/v0.1-rs-weights`,
  tpu: `${releases}/v0.1-tpu-weights`,
  attn: `${releases}/v0.1-attn-weights`,
  tresnet: `${releases}/v0.1-tresnet`,
  gluon: 'https://github.com/rwightman/pytorch-pretrained-gluonresnet/releases/download/v0.1',
  torch: 'https://download.pytorch.org/models',
  fb: 'https://dl.fbaipublicfiles.com/semiweaksupervision/model_files',
};

/** timm/data/constants.py: IMAGENET_DEFAULT and IMAGENET_INCEPTION. */
const statistics: Record<string, Pick<CropPlan, 'mean' | 'deviation'>> = {
  imagenet: { mean: [0.485, 0.456, 0.406], deviation: [0.229, 0.224, 0.225] },
  half: { mean: [0.5, 0.5, 0.5], deviation: [0.5, 0.5, 0.5] },
};

const licences: Record<string, string> = {
  'apache-2.0': 'Apache-2.0',
  'bsd-3-clause': 'BSD-3-Clause',
  'cc-by-nc-4.0': 'CC-BY-NC-4.0',
};

function entryOf(line: string): HubEntry {
  const [name, host, file, classes, size, crop, filter, statistic, licence, millions, metrics] = line.split(' ');
  const parameters = millions === '-' ? undefined : Math.round(Number(millions) * 1e6);
  return {
    id: `timm/${name}`,
    collection: 'timm',
    architecture: name.split('.')[0],
    ...(host === '-'
      ? { url: `https://huggingface.co/timm/${name}/resolve/main/model.safetensors` }
      : { url: `${hosts[host]}/${file}.pth`, sha256: file.slice(-8) }),
    licence: licences[licence],
    ...(parameters && { parameters, bytes: parameters * 4 }),
    classes: Number(classes),
    size: Number(size),
    preprocess: { crop: Number(crop), filter: filter as Filter, ...statistics[statistic] },
    metrics: metrics === '-' ? [] : metrics.split(',').map(metricOf),
  };
}

/** `81.240@288/1.0`: top-1, side, crop. */
function metricOf(text: string): Metric {
  const [top1, size, crop] = text.split(/[@/]/).map(Number);
  return { top1, size, crop };
}

/** timm's ResNets. A file with a published hash is taken before Hugging Face's copy, which has none. */
export const timm: readonly HubEntry[] = timmRows.trim().split('\n').map(entryOf);
