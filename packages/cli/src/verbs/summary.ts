import { drawing, summary } from 'residual';
import { writeWhole } from '../files.js';
import type { OptionsOf, summaryFlags } from '../flags.js';
import { graphOf } from '../networks.js';
import { print } from '../terminal.js';

type Options = OptionsOf<typeof summaryFlags>;

/** `residual summary`: of an architecture by name, or of the network in a weight file. */
export async function run([name]: readonly string[], options: Options): Promise<number> {
  const graph = await graphOf(name, options);
  if (options.svg !== undefined) {
    await writeWhole(options.svg, drawing(graph));
    return 0;
  }
  const found = summary(graph, { freeze: options.freeze });
  await print(`${options.json ? JSON.stringify(found) : found}\n`);
  return 0;
}
