import pc from 'picocolors';
import { type Converted, type ConvertOptions, convert, parseClasses } from 'residual';
import type { Context } from '../context.js';
import { fetching } from '../fetching.js';
import { readText } from '../files.js';
import type { convertFlags, OptionsOf } from '../flags.js';
import { print, printable, wantsColor } from '../terminal.js';

type Options = OptionsOf<typeof convertFlags>;

/** `residual convert`: one file into another. */
export async function run([from, to]: readonly string[], options: Options, context: Context): Promise<number> {
  const { json, labels, to: format, dialect, model, ...rest } = options;
  const { stop, onProgress: onDownload, ...hub } = await fetching(options, context);
  const progress = watched();
  try {
    const done = await convert(from, to, {
      ...rest,
      ...hub,
      onDownload,
      to: format,
      architecture: model,
      // One that is none is refused by name.
      dialect: dialect as ConvertOptions['dialect'],
      ...(labels === undefined ? {} : { labels: parseClasses(await readText(labels), labels) }),
      onProgress: progress.show,
    });
    progress.stop();
    stop();
    for (const line of done.notes) context.note(line);
    await print(json ? `${JSON.stringify({ from, ...done })}\n` : `${describe(from, done)}\n`);
    return 0;
  } finally {
    progress.stop();
    stop();
  }
}

function describe(from: string, { file, format, dialect, tensors, bytes }: Converted): string {
  const { bold, dim } = pc.createColors(wantsColor(process.stdout));
  const facts = [format, dialect && `names of ${dialect}`, `${tensors} tensors`, `${(bytes / 1e6).toFixed(1)} MB`];
  return `${printable(from)} → ${bold(printable(file))}  ${dim(facts.filter(Boolean).join(', '))}`;
}

/** Says how much is written on a terminal, where that takes a while. */
function watched() {
  const stream = process.stderr;
  let shown = false;
  return {
    show(done: number, total: number) {
      if (!stream.isTTY || total < 2 ** 26) return;
      shown = true;
      stream.write(`\r${Math.floor((100 * done) / total)} % of ${(total / 1e6).toFixed(0)} MB written`);
    },
    stop() {
      if (shown) stream.write('\r\u001b[K');
      shown = false;
    },
  };
}
