/** The durations of the lab's profiles. */
import type { Profile } from "./types.ts";

/** Tens of milliseconds, so that tests are fast; the proportions are those of a small site. */
export const fast: Profile = {
  name: "fast",
  cloneLock: 50,
  fullClone: 200,
  start: 50,
  boot: 250,
  register: 150,
  ready: 200,
  shutdown: 100,
  destroy: 30,
  podStart: 100,
  podStop: 500,
  rebuild: 800,
  bakeStage: 20,
};

/** Local NVMe storage and a small RKE2 cluster. */
export const nvme: Profile = {
  name: "nvme",
  cloneLock: 1000,
  fullClone: 20_000,
  start: 1500,
  boot: 12_000,
  register: 9000,
  ready: 6000,
  shutdown: 4000,
  destroy: 1000,
  podStart: 800,
  podStop: 2000,
  rebuild: 60_000,
  bakeStage: 5000,
};

/** A Ceph pool under load: about twice the durations of `nvme`. */
export const ceph: Profile = {
  name: "ceph",
  cloneLock: 2000,
  fullClone: 45_000,
  start: 3000,
  boot: 25_000,
  register: 18_000,
  ready: 12_000,
  shutdown: 8000,
  destroy: 2500,
  podStart: 1600,
  podStop: 4000,
  rebuild: 120_000,
  bakeStage: 10_000,
};

/** All profiles by name. */
export const profiles: Record<Profile["name"], Profile> = { fast, nvme, ceph };
