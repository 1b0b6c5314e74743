// The light entry: what it takes to load a model and classify with it, without the rest of the library. A program that
// does nothing else, such as `residual classify`, starts faster by it.

export { ResidualError } from './errors.js';
export { defaultModel } from './hub/catalogue.js';
export type { HubOptions } from './hub/options.js';
export { parseNpy } from './image/npy.js';
export { classesOfFolders, matchClasses } from './models/class-map.js';
export { type ClassLabel, parseClasses } from './models/classes.js';
export { type ClassifyOptions, classify, type Prediction, type Row } from './tasks/classify.js';
export { classesOf } from './tasks/labels.js';
export { type LoadOptions, load } from './tasks/load.js';
export type { Model } from './tasks/model.js';
export { explainPreprocessing } from './tasks/preprocessing.js';
