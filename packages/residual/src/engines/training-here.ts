import { onednnTraining } from './onednn/train.js';
import { onnxTraining } from './onnx/train.js';
import { referenceTraining } from './reference/train.js';
import { type TrainingWorker, trainingWorker } from './training-worker.js';

let begun: Promise<TrainingWorker> | undefined;

/** What trains, loaded when it is first wanted: most programs only classify. */
export function trainingHere(): Promise<TrainingWorker> {
  begun ??= open();
  return begun;
}

async function open(): Promise<TrainingWorker> {
  return trainingWorker({ onednn: onednnTraining, onnx: onnxTraining, reference: referenceTraining });
}
