/** Bytes for people: `640 bytes`, `97.8 MB`, `1.2 GB`. */
export function sizeOf(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`;
  const power = Math.min(4, Math.floor(Math.log10(bytes) / 3));
  const value = bytes / 1000 ** power;
  return `${value >= 100 ? value.toFixed(0) : value.toFixed(1)} ${['', 'kB', 'MB', 'GB', 'TB'][power]}`;
}
