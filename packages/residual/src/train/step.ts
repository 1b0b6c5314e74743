import type { TrainerOptions } from '../engines/trainer.js';
import { ResidualError } from '../errors.js';
import { frozenUpTo } from '../graph/frozen.js';
import type { Graph } from '../graph/graph.js';
import { type TrainingStep, trainingStep } from '../graph/training-step.js';
import type { Lesson } from './loop.js';
import type { Recipe } from './settings.js';
import { groupsOf } from './stages.js';

/** What a trainer is told of a recipe. */
export const trainerOptions = (
  { student, recipe, course, engine }: Pick<Lesson, 'student' | 'recipe' | 'course' | 'engine'>,
  { trained }: TrainingStep,
): TrainerOptions => ({
  optimizer: course.optimizer,
  groups: groupsOf(student.graph, trained, recipe),
  ...(recipe.clip > 0 && { clip: recipe.clip }),
  average: recipe.average > 0,
  precision: recipe.precision,
  recompute: recipe.recompute,
  threads: engine.threads,
});

/** A recipe's training step of a network. @throws GRAPH, also where a BatchNorm would measure one number; UNKNOWN_NAME */
export function stepOf(graph: Graph, recipe: Recipe, batch: number, freeze: string): TrainingStep {
  const frozen = frozenUpTo(graph, freeze);
  const [{ shape }] = graph.inputs;
  const size = recipe.featuresOnce ? 0 : recipe.size;
  const sizes = shape.slice(1).map((side, axis) => (axis > 0 && size > 0 ? size : side));
  const step = trainingStep(graph, {
    shape: [batch, ...sizes],
    loss: recipe.loss,
    trains: ({ name, role }) => !frozen.has(name) && !(recipe.freezeNorms && (role === 'gamma' || role === 'beta')),
    dropPath: recipe.dropPath,
  });
  const alone = step.measured.find(({ count }) => count === 1)?.mean.replace(/\.\w+$/, '');
  if (alone !== undefined)
    throw new ResidualError(
      'GRAPH',
      `${graph.name}: ${alone} would measure the deviation of a single number for each channel, which is 0; take larger batches or pictures, or leave the norms as they are (freezeNorms)`,
      { layer: alone },
    );
  return step;
}
