// What users import to train, in Node: `residual/train`.

export { tar } from './data/archive.js';
export { cifar } from './data/cifar.js';
export type { Batch, BatchOptions, Dataset, Example, Mix, Source, Target } from './data/dataset.js';
export { folder } from './data/folder.js';
export { idx } from './data/idx.js';
export { batches } from './data/loader.js';
export { manifest } from './data/manifest.js';
export { open } from './data/open.js';
export { epochOrder, inOrder, type OrderOptions } from './data/order.js';
export { contactSheet, type SheetOptions } from './data/preview.js';
export type { Some, SplitOptions } from './data/split.js';
export { classWeights, countClasses } from './data/targets.js';
export {
  type Augment,
  type AugmentName,
  type AugmentStep,
  augmentNames,
  augmentText,
  parseAugment,
} from './image/augment.js';
export { type RecipeInput, type RecipeName, recipes, resolveRecipe } from './train/recipes.js';
