/** What Pillow makes of the first frame of a GIF and other decoders do not; places are in the file's screen. */
export interface GifFrame {
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  /** What Pillow puts outside the frame: the colour of its transparent number, else of number 0. */
  readonly around: readonly [number, number, number];
  /** The file with the frame's transparency switched off, so that a decoder gives the stored colours. */
  readonly opaque: Uint8Array;
}

/** Reads up to the first picture (GIF89a specification, sections 18–23); undefined when the file breaks off before. */
export function readGifFrame(bytes: Uint8Array): GifFrame | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const opaque = bytes.slice();
  const tableLength = (flags: number): number => (flags & 128 ? 3 << ((flags & 7) + 1) : 0);
  let at = 13 + tableLength(bytes[10]);
  let palette = bytes[10] & 128 ? 13 : undefined;
  let transparent: number | undefined;
  while (at + 10 <= bytes.length) {
    if (bytes[at] === 0x2c) {
      const flags = bytes[at + 9];
      if (flags & 128) palette = at + 10;
      const number = transparent ?? 0;
      const colour = palette === undefined ? undefined : bytes.subarray(palette + number * 3, palette + number * 3 + 3);
      return {
        left: view.getUint16(at + 1, true),
        top: view.getUint16(at + 3, true),
        width: view.getUint16(at + 5, true),
        height: view.getUint16(at + 7, true),
        around: colour ? [colour[0] ?? 0, colour[1] ?? 0, colour[2] ?? 0] : [number, number, number],
        opaque,
      };
    }
    if (bytes[at] !== 0x21) {
      at++;
      continue;
    }
    if (bytes[at + 1] === 0xf9 && bytes[at + 3] & 1) {
      transparent = bytes[at + 6];
      opaque[at + 3] &= ~1;
    }
    at += 2;
    while (at < bytes.length && bytes[at] !== 0) at += bytes[at] + 1;
    at++;
  }
  return undefined;
}
