import { readdirSync, readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { PbfReader, PbfWriter } from 'pbf';
import { ResidualError } from '../errors.js';
import { append } from './run-folder.js';

/*
 * TensorBoard's event files: records of a length (u64), its checksum, an Event (tensorflow/core/util/event.proto), its
 * checksum (tensorflow/core/lib/io/record_writer.h). A checksum is CRC-32C, rotated by 15 and moved by a constant, so
 * that the checksum of data that hold checksums stays a good one (tensorflow/core/lib/hash/crc32c.h).
 */

/** Field numbers of the messages. */
const event = { wallTime: 1, step: 2, fileVersion: 3, summary: 5, sessionLog: 7 } as const;
const summaryValue = 1;
const value = { tag: 1, simpleValue: 2 } as const;
const session = { status: 1, start: 1 } as const;

/** Numbers of one moment, by TensorBoard's names: `loss/train`. */
export type Scalars = Readonly<Record<string, number>>;

export interface EventFile {
  /** @throws FILE */
  write(step: number, scalars: Scalars, seconds?: number): void;
  close(): void;
}

/**
 * Begins an event file in a run's folder. Where a run goes on, TensorBoard is told to forget what it was given of later
 * steps.
 * @param step the first that is to come
 * @throws FILE
 */
export function openEvents(folder: string, step: number, now = Date.now() / 1000): EventFile {
  const file = join(
    folder,
    `events.out.tfevents.${String(Math.floor(now)).padStart(10, '0')}.${hostname()}.${process.pid}`,
  );
  const goesOn = readdirSync(folder).some((name) => name.startsWith('events.out.tfevents.'));
  const out = append(file);
  const put = (bytes: Uint8Array) => out.write(record(bytes));
  put(
    message((to) => {
      to.writeDoubleField(event.wallTime, now);
      to.writeStringField(event.fileVersion, 'brain.Event:2');
    }),
  );
  if (goesOn)
    put(
      message((to) => {
        to.writeDoubleField(event.wallTime, now);
        to.writeVarintField(event.step, step);
        to.writeBytesField(
          event.sessionLog,
          message((inside) => inside.writeVarintField(session.status, session.start)),
        );
      }),
    );
  return {
    write(at, scalars, seconds = Date.now() / 1000) {
      const values = Object.entries(scalars).filter(([, number]) => Number.isFinite(number));
      put(
        message((to) => {
          to.writeDoubleField(event.wallTime, seconds);
          to.writeVarintField(event.step, at);
          to.writeBytesField(
            event.summary,
            message((inside) => {
              for (const [tag, number] of values)
                inside.writeBytesField(
                  summaryValue,
                  message((one) => {
                    one.writeStringField(value.tag, tag);
                    one.writeFloatField(value.simpleValue, number);
                  }),
                );
            }),
          );
        }),
      );
    },
    close: out.close,
  };
}

function message(fill: (to: PbfWriter) => void): Uint8Array {
  const to = new PbfWriter();
  fill(to);
  return to.finish().slice();
}

function record(data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16 + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, masked(bytes.subarray(0, 8)), true);
  bytes.set(data, 12);
  view.setUint32(12 + data.length, masked(data), true);
  return bytes;
}

/** What stands in an event file: one entry an event. */
export interface ReadEvent {
  readonly seconds: number;
  readonly step: number;
  readonly version?: string;
  /** A run begins, or goes on, here: what came of later steps is void. */
  readonly started?: true;
  readonly scalars: Scalars;
}

/**
 * Reads the event files of a folder, in the order of their names.
 * @throws FILE for a record whose checksum is wrong; one that breaks off at the end is left out.
 */
export function readEvents(folder: string): ReadEvent[] {
  const names = readdirSync(folder).filter((name) => name.startsWith('events.out.tfevents.'));
  return names.sort().flatMap((name) => [...records(readFileSync(join(folder, name)), join(folder, name))].map(parsed));
}

function* records(bytes: Uint8Array, file: string): Generator<Uint8Array> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at + 16 <= bytes.length; ) {
    const length = Number(view.getBigUint64(at, true));
    const wrong = () =>
      new ResidualError('FILE', `${file}: the record at byte ${at} has a wrong checksum; the file is damaged`, {
        file,
      });
    if (view.getUint32(at + 8, true) !== masked(bytes.subarray(at, at + 8))) throw wrong();
    const end = at + 12 + length;
    if (end + 4 > bytes.length) return;
    const data = bytes.subarray(at + 12, end);
    if (view.getUint32(end, true) !== masked(data)) throw wrong();
    yield data;
    at = end + 4;
  }
}

function parsed(bytes: Uint8Array): ReadEvent {
  const found = { seconds: 0, step: 0, scalars: {} as Record<string, number> };
  const more: { version?: string; started?: true } = {};
  new PbfReader(bytes).readFields((tag, _, from) => {
    if (tag === event.wallTime) found.seconds = from.readDouble();
    else if (tag === event.step) found.step = from.readVarint(true);
    else if (tag === event.fileVersion) more.version = from.readString();
    else if (tag === event.sessionLog) more.started = true;
    else if (tag === event.summary)
      new PbfReader(from.readBytes()).readFields((one, __, inside) => {
        if (one !== summaryValue) return;
        let [name, number] = ['', Number.NaN];
        new PbfReader(inside.readBytes()).readFields((field, ___, entry) => {
          if (field === value.tag) name = entry.readString();
          else if (field === value.simpleValue) number = entry.readFloat();
        }, undefined);
        found.scalars[name] = number;
      }, undefined);
  }, undefined);
  return { ...found, ...more };
}

const masked = (bytes: Uint8Array): number => {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
};

/** Remainders of each byte by Castagnoli's polynomial, 0x82f63b78. */
const remainders = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let bit = 0; bit < 8; bit++) rest = rest & 1 ? (rest >>> 1) ^ 0x82f63b78 : rest >>> 1;
  return rest;
});

/** RFC 3720, appendix B.4. */
export function crc32c(bytes: Uint8Array): number {
  let rest = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) rest = remainders[(rest ^ bytes[i]) & 255] ^ (rest >>> 8);
  return ~rest >>> 0;
}
