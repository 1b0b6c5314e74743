import { build, bundled, family, findEntry, type Graph, load } from 'residual';

/** The network of that name: an architecture's, a published or bundled model's, or the one in a weight file. */
export async function graphOf(
  name: string,
  { classes, size }: { readonly classes?: number; readonly size?: number | readonly [height: number, width: number] },
): Promise<Graph> {
  const changes = { ...(classes === undefined ? {} : { classes }), ...(size === undefined ? {} : { size }) };
  const isFile = !Object.hasOwn(family, name) && (Object.hasOwn(bundled, name) || /[./\\]/.test(name));
  // A published model is its network here: nothing is downloaded.
  const entry = Object.hasOwn(family, name) ? undefined : await findEntry(name);
  if (entry) return build(entry.architecture, { size: entry.size, classes: entry.classes, ...changes });
  if (!isFile) return build(name, changes);
  await using model = await load(name, { ...changes, ...(classes === undefined ? {} : { newHead: true }) });
  return model.graph;
}
