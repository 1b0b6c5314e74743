import { bundled, catalogue, family, presetNames, spellings } from 'residual';
import { unknownName } from 'residual/errors';
import { completionScript } from '../completion.js';
import { shells } from '../flags.js';
import { print } from '../terminal.js';

/** `residual completion bash`: the script on stdout. */
export async function run([name]: readonly string[]): Promise<number> {
  const shell = shells.find((known) => known === name);
  if (shell === undefined) throw unknownName('shell', name, shells);
  const published = (await catalogue()).map(({ id }) => id);
  const models = [...Object.keys(bundled), ...Object.keys(family), ...published];
  await print(completionScript(shell, { models, presets: presetNames, dialects: spellings }));
  return 0;
}
