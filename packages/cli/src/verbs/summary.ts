import { build, bundled, drawing, family, findEntry, type Graph, load, summary } from 'residual';
import { writeWhole } from '../files.js';
import type { OptionsOf, summaryFlags } from '../flags.js';
import { print } from '../terminal.js';

type Options = OptionsOf<typeof summaryFlags>;

/** `residual summary`: of an architecture by name, or of the network in a weight file. */
export async function run([name]: readonly string[], options: Options): Promise<number> {
  const graph = await graphOf(name, options);
  if (options.svg !== undefined) {
    await writeWhole(options.svg, drawing(graph));
    return 0;
  }
  const found = summary(graph);
  await print(`${options.json ? JSON.stringify(found) : found}\n`);
  return 0;
}

async function graphOf(name: string, { classes, size }: Options): Promise<Graph> {
  const changes = { ...(classes === undefined ? {} : { classes }), ...(size === undefined ? {} : { size }) };
  const isFile = !Object.hasOwn(family, name) && (Object.hasOwn(bundled, name) || /[./\\]/.test(name));
  // A published model is its network here: nothing is downloaded to list layers.
  const entry = Object.hasOwn(family, name) ? undefined : await findEntry(name);
  if (entry) return build(entry.architecture, { size: entry.size, classes: entry.classes, ...changes });
  if (!isFile) return build(name, changes);
  await using model = await load(name, { ...changes, ...(classes === undefined ? {} : { newHead: true }) });
  return model.graph;
}
