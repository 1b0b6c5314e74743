import { type ByteSource, damaged, readBytes } from './source.js';

/** Where a member of a tar lies in it. */
export interface TarMember {
  readonly offset: number;
  readonly size: number;
}

const block = 512;
/** Archives of other things have thousands of members; the container of weights has four. */
const mostMembers = 64;
/** An extended header holds a path and some numbers. */
const longestHeader = 65_536;

/**
 * The ordinary files of a tar by name (POSIX.1-2001, "pax"; sizes and paths of extended headers and GNU's long names
 * are honoured), up to the end mark, the end of the file or the first `most` headers. Paths are without a `/` or `./`
 * before them.
 * @param options `endMark`: a file without its end mark is one that breaks off
 * @throws WEIGHTS_FORMAT when a header is damaged, a member goes on beyond the end of the file, or an end mark is missing.
 */
export async function readTar(
  source: ByteSource,
  { most = mostMembers, endMark = false }: { most?: number; endMark?: boolean } = {},
): Promise<Map<string, TarMember>> {
  const members = new Map<string, TarMember>();
  /** What an extended header says of the member behind it. */
  let extended = new Map<string, string>();
  let at = 0;
  for (let seen = 0; seen < most; seen++) {
    if (at + block > source.size) {
      if (endMark) throw damaged(source, `the tar breaks off after ${source.size} bytes, without its end mark`);
      break;
    }
    const header = await readBytes(source, at, block);
    if (header.every((byte) => byte === 0)) break;
    checkSum(source, header, at);
    const kind = String.fromCharCode(header[156]);
    const size = kind === 'x' || !extended.has('size') ? number(source, header, at) : Number(extended.get('size'));
    const name = extended.get('path') ?? nameOf(header);
    const offset = at + block;
    if (!Number.isSafeInteger(size) || size < 0) throw damaged(source, `member ${name} of the tar has no size`);
    if (size > source.size - offset)
      throw damaged(
        source,
        `member ${name} of the tar should have ${size} bytes but ${source.size - offset} are left of the ${source.size} of the file`,
      );
    at = offset + Math.ceil(size / block) * block;
    if (kind === 'x' || kind === 'L') {
      if (size > longestHeader) throw damaged(source, `an extended header of ${size} bytes`);
      const bytes = await readBytes(source, offset, size);
      if (kind === 'x') extended = records(source, bytes);
      else extended.set('path', text(bytes, 0, bytes.length));
      continue;
    }
    extended = new Map();
    if (kind !== '0' && kind !== '\0') continue;
    const plain = name.replace(/^(\.?\/)+/, '');
    if (members.has(plain)) throw damaged(source, `it has two members ${plain}`);
    members.set(plain, { offset, size });
  }
  return members;
}

/** POSIX keeps the folders of a long path apart; where GNU's older form has other things. */
function nameOf(header: Uint8Array): string {
  const [name, prefix] = [text(header, 0, 100), text(header, 345, 155)];
  const isPosix = text(header, 257, 6) === 'ustar' && header[262] === 0;
  return isPosix && prefix ? `${prefix}/${name}` : name;
}

/** The sum of a header's bytes, its own field taken for spaces: what tells a header from anything else. */
function checkSum(source: ByteSource, header: Uint8Array, at: number): void {
  let sum = 0;
  for (let i = 0; i < block; i++) sum += i >= 148 && i < 156 ? 32 : header[i];
  if (parseInt(text(header, 148, 8), 8) !== sum)
    throw damaged(source, `at byte ${at} there should be a header of the tar`);
}

/** Octal digits, or for 8 GiB and more the binary number that GNU tar and Python write behind a byte 0x80. */
function number(source: ByteSource, header: Uint8Array, at: number): number {
  if (header[124] === 0x80) return header.subarray(125, 136).reduce((value, byte) => value * 256 + byte, 0);
  const digits = text(header, 124, 12).trim();
  if (!/^[0-7]+$/.test(digits)) throw damaged(source, `the size in the tar header at byte ${at} is no number`);
  return parseInt(digits, 8);
}

/** Lines `LENGTH key=value`, whose length counts the line itself. */
function records(source: ByteSource, bytes: Uint8Array): Map<string, string> {
  const found = new Map<string, string>();
  for (let at = 0; at < bytes.length; ) {
    const line = /^(\d{1,6}) /.exec(text(bytes, at, 7));
    const length = Number(line?.[1]);
    if (!line || length <= line[0].length || at + length > bytes.length)
      throw damaged(source, 'an extended header of the tar is broken');
    const entry = utf8.decode(bytes.subarray(at + line[0].length, at + length)).replace(/\n$/, '');
    const equals = entry.indexOf('=');
    if (equals > 0) found.set(entry.slice(0, equals), entry.slice(equals + 1));
    at += length;
  }
  return found;
}

const utf8 = new TextDecoder();

/** Text up to the first zero. */
function text(bytes: Uint8Array, at: number, length: number): string {
  const field = bytes.subarray(at, at + length);
  const end = field.indexOf(0);
  return utf8.decode(end < 0 ? field : field.subarray(0, end));
}
