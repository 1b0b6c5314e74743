import { verbs } from './verbs.js';

/** What `residual --help` prints. */
export function overview(): string {
  const columns = Math.max(...verbs.map(({ name }) => name.length));
  return `Usage: residual <verb> [options]

Classify photographs with the weights of any ResNet.

Verbs:
${verbs.map(({ name, summary }) => `  ${name.padEnd(columns)}  ${summary}\n`).join('')}
Options:
  -V, --version  print the version
  -h, --help     print this help

Help on one verb, with examples: residual help <verb>
`;
}
