/** What the header of a JPEG says; sizes and counts are 0 when the file breaks off before its frame header. */
export interface JpegHeader {
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  readonly components: number;
  /** EXIF orientation, 1–8. */
  readonly orientation: number;
}

/** Reads the markers before the first scan (ITU T.81, annex B; EXIF in APP1). Never throws. */
export function readJpegHeader(bytes: Uint8Array): JpegHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = { width: 0, height: 0, bits: 8, components: 0, orientation: 1 };
  let at = 2;
  while (at + 4 <= bytes.length) {
    if (bytes[at] !== 0xff || bytes[at + 1] === 0xff) {
      at++;
      continue;
    }
    const marker = bytes[at + 1];
    if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8)) {
      at += 2;
      continue;
    }
    if (marker === 0xda || marker === 0xd9) break;
    const body = at + 4;
    const end = at + 2 + view.getUint16(at + 2);
    if (end > bytes.length) break;
    const isFrame = marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc;
    if (isFrame && end - body >= 6) {
      header.bits = bytes[body];
      header.height = view.getUint16(body + 1);
      header.width = view.getUint16(body + 3);
      header.components = bytes[body + 5];
    } else if (marker === 0xe1 && startsWith(bytes, body, 'Exif\0\0'))
      header.orientation = exifOrientation(view, body + 6, end) ?? header.orientation;
    at = Math.max(end, at + 2);
  }
  return header;
}

const startsWith = (bytes: Uint8Array, at: number, text: string): boolean =>
  [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0));

/** Tag 0x0112 of the first directory of the TIFF structure between two bytes. */
function exifOrientation(view: DataView, from: number, to: number): number | undefined {
  if (from + 8 > to) return undefined;
  const little = view.getUint16(from) === 0x4949;
  const directory = from + view.getUint32(from + 4, little);
  if (directory + 2 > to) return undefined;
  const entries = view.getUint16(directory, little);
  for (let i = 0, at = directory + 2; i < entries && at + 12 <= to; i++, at += 12) {
    if (view.getUint16(at, little) !== 0x0112) continue;
    const value = view.getUint16(at + 8, little);
    return value >= 1 && value <= 8 ? value : undefined;
  }
  return undefined;
}
