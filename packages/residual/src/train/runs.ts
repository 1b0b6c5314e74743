import { ResidualError } from '../errors.js';
import type { EpochRow, RunConfig } from './run-folder.js';
import { readConfig, readMetrics, runsBelow } from './run-folder.js';
import { presets, type Recipe, type SettingName } from './settings.js';

/** One run among others. */
export interface RunSummary {
  readonly folder: string;
  readonly config: RunConfig;
  /** Epochs that are done, of how many. */
  readonly epochs: number;
  readonly last?: EpochRow;
  /** The epoch with the best validation. */
  readonly best?: EpochRow;
  /** Of all epochs, in seconds. */
  readonly seconds: number;
}

/** Runs side by side. */
export interface RunComparison {
  readonly runs: readonly RunSummary[];
  /** Those that cannot be read, by name. */
  readonly unread: readonly { readonly folder: string; readonly error: ResidualError }[];
  /** The settings in which they differ, each with its value in every run. */
  readonly differences: readonly { readonly setting: SettingName; readonly values: readonly Recipe[SettingName][] }[];
}

/**
 * What runs reached, best first, and in which settings they differ.
 * @param folders runs, or folders of runs
 * @throws FILE for a folder that is not there.
 * @example const { runs, differences } = await compareRuns(['runs/']);
 */
export async function compareRuns(folders: readonly string[]): Promise<RunComparison> {
  const names = [...new Set(folders.flatMap(runsBelow))];
  const runs: RunSummary[] = [];
  const unread: RunComparison['unread'][number][] = [];
  for (const folder of names)
    try {
      runs.push(await summaryOf(folder));
    } catch (error) {
      if (!(error instanceof ResidualError)) throw error;
      unread.push({ folder, error });
    }
  const score = ({ best }: RunSummary) => best?.validation?.top1 ?? -1;
  const sorted = runs.toSorted((a, b) => score(b) - score(a));
  const differences = (Object.keys(presets) as SettingName[]).flatMap((setting) => {
    const values = sorted.map(({ config }) => config.recipe[setting] ?? presets[setting]);
    return new Set(values).size > 1 ? [{ setting, values }] : [];
  });
  return { runs: sorted, unread, differences };
}

async function summaryOf(folder: string): Promise<RunSummary> {
  const [config, rows] = [await readConfig(folder), await readMetrics(folder)];
  const epochs = rows.filter((row) => row.kind === 'epoch');
  const judged = epochs.filter(({ validation }) => validation);
  const last = epochs.at(-1);
  const best = judged.length
    ? judged.reduce((a, b) => ((b.validation?.top1 ?? 0) > (a.validation?.top1 ?? 0) ? b : a))
    : undefined;
  return {
    folder,
    config,
    epochs: epochs.length,
    ...(last && { last }),
    ...(best && { best }),
    seconds: epochs.reduce((sum, { seconds }) => sum + seconds, 0),
  };
}
