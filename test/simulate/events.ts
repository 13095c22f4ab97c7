import { weatherKinds } from "./weather/storms.ts";

/** What befalls machines and processes, by the name under which it is counted. */
export const eventKinds = [
  "flap",
  "partition",
  "hang",
  "power cut",
  "move",
  "kill of the tree",
  "kill of the engine",
  "kill of a step",
  "interrupt",
  "a task that warns",
  "a task without its lock",
  "a learner that learns nothing",
  ...weatherKinds.map(({ name }) => name),
];
