import type { HubOptions } from 'residual/classify';
import type { Context } from './context.js';
import { startDownload } from './progress.js';
import { sizeOf } from './sizes.js';

/**
 * How a verb fetches published models: says what is downloaded under which licence, with a bar, and which tries failed, and stops on Ctrl-C.
 * `stop` takes the bar away, also when nothing was fetched.
 */
export async function fetching(
  { offline, acceptLicense }: { readonly offline?: true; readonly acceptLicense?: true },
  { note, signal }: Context,
): Promise<HubOptions & { stop(): void }> {
  const bar = await startDownload();
  let told = false;
  return {
    offline,
    acceptLicence: acceptLicense,
    signal,
    onProgress({ entry: { id, licence }, from, received, total, trouble }) {
      if (trouble !== undefined) {
        bar.hide();
        note(`${from}: ${trouble}`);
        return;
      }
      if (!told) {
        const size = total === undefined ? '' : `${sizeOf(total)}, `;
        note(
          `downloading ${id} (${size}licence ${licence}) from ${from}${received ? `, continued at ${sizeOf(received)}` : ''}`,
        );
      }
      told = true;
      bar.show(received, total);
    },
    stop: bar.stop,
  };
}
