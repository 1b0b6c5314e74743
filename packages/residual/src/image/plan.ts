/** The filters of Pillow's resize, by its names. */
export type Filter = 'nearest' | 'box' | 'bilinear' | 'hamming' | 'bicubic' | 'lanczos';

/**
 * How the bytes of a picture become pixels. `default`: orientation obeyed, colour profile ignored, transparency laid
 * over white, upper byte of 16 bits, first frame. `pillow`: exactly `Image.open(file).convert('RGB')`.
 */
export type Decoding = 'default' | 'pillow';

/** One step of preprocessing. Sizes are in pixels; values start as 0–255 in RGB order. */
export type Step =
  | { readonly step: 'decode'; readonly as: Decoding }
  /** Short side to `size`, the other by proportion, cut to whole pixels (torchvision's Resize). */
  | { readonly step: 'resizeShortSide'; readonly size: number; readonly filter: Filter }
  /** Both sides, proportions given up (Keras' load_img). */
  | { readonly step: 'resize'; readonly height: number; readonly width: number; readonly filter: Filter }
  /** Offset round-half-to-even((side − size) / 2); a smaller picture is laid on black (torchvision's CenterCrop). */
  | { readonly step: 'centerCrop'; readonly height: number; readonly width: number }
  /** RGB → BGR. */
  | { readonly step: 'reverseChannels' }
  /** value · factor + offset. */
  | { readonly step: 'scale'; readonly factor: number; readonly offset: number }
  /** (value − mean) / deviation, by channel in the order the values now have. */
  | { readonly step: 'normalize'; readonly mean: readonly number[]; readonly deviation: readonly number[] };

/** Preprocessing as data: it belongs to the weights, is stored with them and printed on request. */
export type Plan = readonly Step[];
