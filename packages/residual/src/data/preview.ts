import { ResidualError } from '../errors.js';
import { decodingOf } from '../image/apply.js';
import type { Augment } from '../image/augment.js';
import { augmenter } from '../image/augment-apply.js';
import { encodeJpeg, encodePng } from '../image/decode.js';
import type { Pixels } from '../image/pixels.js';
import type { Plan } from '../image/plan.js';
import { preset } from '../image/presets.js';
import type { Example } from './dataset.js';
import { pixelsOf } from './open-source.js';

export interface SheetOptions {
  readonly augment: Augment;
  /**
   * What comes before and after the augmentation. When left out: that of ImageNet's networks at `size`, 224 when left out
   * too, and none for pictures of up to 64 pixels, such as CIFAR's.
   */
  readonly plan?: Plan | undefined;
  readonly size?: number | undefined;
  readonly seed?: number;
  /** Rows: so many of the examples, evenly spread over them; 8 when left out. */
  readonly pictures?: number;
  /** Columns beside the first: the picture in as many epochs; 8 when left out. */
  readonly epochs?: number;
  readonly format?: 'png' | 'jpeg';
}

const gap = 4;
const paper = 255;
/** Smaller tiles are enlarged, pixel by pixel, to at least this side. */
const smallestTile = 96;
const small = 64;

/**
 * A contact sheet: each row is a picture, first as the network sees it in a test, then as it sees it in training, epoch
 * by epoch, drawn as training with this seed draws.
 *
 * @returns the bytes of a PNG or JPEG
 * @throws DATA for no examples; FILE, IMAGE, ARGUMENT, MISSING_PACKAGE as decoding and the plan do.
 * @example await writeFile('sheet.png', await contactSheet(data.train, { augment: parseAugment('flip, rotate 15') }));
 */
export async function contactSheet(examples: readonly Example[], options: SheetOptions): Promise<Uint8Array> {
  const { augment, seed = 0, pictures = 8, epochs = 8, format = 'png' } = options;
  if (examples.length === 0) throw new ResidualError('DATA', 'there is no picture to show');
  const count = Math.min(pictures, examples.length);
  const places = Array.from({ length: count }, (_, i) => Math.floor((i * examples.length) / count));
  const plan = options.plan ?? (await usualPlan(examples[places[0]], options.size));
  const plain = augmenter(plan, []);
  const look = augmenter(plan, augment);
  const rows: Pixels[][] = [];
  for (const index of places) {
    const pixels = await pixelsOf(examples[index].source, decodingOf(plan));
    const seen = Array.from({ length: epochs }, (_, epoch) => look(pixels, { seed, epoch, index, repeat: 0 }));
    rows.push([plain(pixels, { seed, epoch: 0, index, repeat: 0 }), ...seen].map(enlarge));
  }
  const sheet = lay(rows);
  return format === 'jpeg' ? encodeJpeg(sheet) : encodePng(sheet);
}

async function usualPlan({ source }: Example, size: number | undefined): Promise<Plan> {
  if (size === undefined) {
    const { width, height } = await pixelsOf(source, 'default');
    if (Math.max(width, height) <= small) return preset('cifar', { height, width });
  }
  return preset('torchvision', { height: size ?? 224, width: size ?? 224 });
}

function enlarge(tile: Pixels): Pixels {
  const by = Math.max(1, Math.ceil(smallestTile / Math.max(tile.width, tile.height)));
  if (by === 1) return tile;
  const [width, height] = [tile.width * by, tile.height * by];
  const data = new Uint8Array(width * height * 3);
  for (let y = 0, o = 0; y < height; y++)
    for (let x = 0; x < width; x++, o += 3) {
      const i = (Math.floor(y / by) * tile.width + Math.floor(x / by)) * 3;
      data.set(tile.data.subarray(i, i + 3), o);
    }
  return { width, height, data };
}

/** Tiles in rows and columns, on white; the first column stands a little apart. */
function lay(rows: readonly (readonly Pixels[])[]): Pixels {
  const tileWidth = Math.max(...rows.flat().map(({ width }) => width));
  const tileHeight = Math.max(...rows.flat().map(({ height }) => height));
  const left = (column: number): number => gap + column * (tileWidth + gap) + (column > 0 ? 2 * gap : 0);
  const width = left(rows[0].length);
  const height = gap + rows.length * (tileHeight + gap);
  const data = new Uint8Array(width * height * 3).fill(paper);
  rows.forEach((row, r) => {
    row.forEach((tile, c) => {
      for (let y = 0; y < tile.height; y++) {
        const line = tile.data.subarray(y * tile.width * 3, (y + 1) * tile.width * 3);
        data.set(line, ((gap + r * (tileHeight + gap) + y) * width + left(c)) * 3);
      }
    });
  });
  return { width, height, data };
}
