import { resolve } from 'node:path';

/** The folder of shared test material, or undefined: tests that need it are skipped without it. */
export const shared: string | undefined = process.env.RESIDUAL_SHARED && resolve(process.env.RESIDUAL_SHARED);
