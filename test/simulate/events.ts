import { weatherKinds } from "./weather/storms.ts";

/** Events of machines and processes, by the names under which they are counted. */
export const eventKinds = [
  "flap",
  "partition",
  "hang",
  "power cut",
  "move",
  "kill of the tree",
  "kill of the engine",
  "kill of a step",
  "kill of the plugin",
  "interrupt",
  "a task that warns",
  "a task without its lock",
  "a learner that learns nothing",
  "an update that allows a destroy",
  "a destroy",
  "a destroy without its guard",
  "an older state",
  "registries that change in place",
  "a site that is shut down",
  "a zone that loses its last node",
  "a run that is refused for a zone",
  ...weatherKinds.map(({ name }) => name),
];
