import { appendFileSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratch } from '../testing.js';
import { crc32c, openEvents, readEvents } from './tensorboard.js';

test('CRC-32C of RFC 3720, appendix B.4', () => {
  expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa);
  expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43);
  expect(crc32c(Uint8Array.from({ length: 32 }, (_, i) => i))).toBe(0x46dd794e);
  expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283);
});

test('the first record, byte by byte', () => {
  const folder = scratch();
  openEvents(folder, 0, 1).close();
  const [name] = readdirSync(folder);
  expect(name).toMatch(/^events\.out\.tfevents\.0000000001\./);
  const bytes = readFileSync(join(folder, name));
  // Event { wall_time: 1.0, file_version: "brain.Event:2" }
  const data = [0x09, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f, 0x1a, 13, ...new TextEncoder().encode('brain.Event:2')];
  expect(bytes.readBigUInt64LE(0)).toBe(BigInt(data.length));
  expect([...bytes.subarray(12, -4)]).toEqual(data);
  const mask = (crc: number) => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
  expect(bytes.readUInt32LE(8)).toBe(mask(crc32c(bytes.subarray(0, 8))));
  expect(bytes.readUInt32LE(12 + data.length)).toBe(mask(crc32c(Uint8Array.from(data))));
});

test('what is written is read back; a run that goes on says so', () => {
  const folder = scratch();
  const first = openEvents(folder, 0, 1000);
  first.write(1, { 'loss/train': 2.5, rate: 0.5 }, 1001);
  first.write(300, { 'loss/train': Number.NaN, 'top1/validation': 0.25 }, 1002);
  first.close();
  const second = openEvents(folder, 200, 2000);
  second.write(2 ** 40, { rate: -1 }, 2001);
  second.close();
  expect(readEvents(folder)).toEqual([
    { seconds: 1000, step: 0, version: 'brain.Event:2', scalars: {} },
    { seconds: 1001, step: 1, scalars: { 'loss/train': 2.5, rate: 0.5 } },
    { seconds: 1002, step: 300, scalars: { 'top1/validation': 0.25 } },
    { seconds: 2000, step: 0, version: 'brain.Event:2', scalars: {} },
    { seconds: 2000, step: 200, started: true, scalars: {} },
    { seconds: 2001, step: 2 ** 40, scalars: { rate: -1 } },
  ]);
});

test('a record that breaks off is left out, a damaged one refused', () => {
  const folder = scratch();
  const file = openEvents(folder, 0, 1);
  file.write(1, { loss: 1 }, 1);
  file.close();
  const path = join(folder, readdirSync(folder)[0]);
  const whole = readFileSync(path);
  writeFileSync(path, whole.subarray(0, -3));
  expect(readEvents(folder)).toHaveLength(1);
  writeFileSync(path, whole);
  appendFileSync(path, Buffer.alloc(20, 7));
  expect(() => readEvents(folder)).toThrow(/wrong checksum/);
});
