import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { add, emptyOf, gapsOf, type Counted } from "./coverage.ts";
import type { Strike } from "./faults.ts";
import type { Result, SimulateOptions, StoryKind } from "./simulate.ts";

export type Kind = "simulate" | "adversary";

/** A seed to play. */
export interface Play {
  seed: number;
  /** A fault in addition to those that the seed decides. */
  strike?: Strike | undefined;
  /** The only kind of environment fault, in every act. */
  weather?: string | undefined;
  /** The kind of story. @default the seed decides */
  story?: StoryKind | undefined;
  /** Whether more befalls it at once than usually. */
  heavy?: boolean | undefined;
}

/** A play with violations. */
export interface Wrong extends Play {
  violations: string[];
}

/** The result of a worker. */
export interface Played {
  wrong: Wrong[];
  coverage: Counted;
}

/** What a worker is to play. */
export interface Share {
  kind: Kind;
  plays: readonly Play[];
}

/** Seeds to play, split over some workers. */
export interface Plays {
  kind: Kind;
  /** The first seed. */
  seed: number;
  runs: number;
  workers: number;
  /** The only kind of environment fault, in every act. @default what each seed draws */
  weather?: string | undefined;
  /** The kind of every story. @default each seed decides */
  story?: StoryKind | undefined;
  /** Whether more befalls every story at once than usually. */
  heavy?: boolean | undefined;
}

/** With fewer runs, a cell that was not struck proves nothing. */
const ciRuns = 1000;
/** How many seeds are tried for a cell that the random runs did not strike. */
const triesPerGap = 3;

/**
 * Plays the seeds, split over the workers. In a campaign of CI size, each kind of fault that never struck a kind of
 * request is then requested by name, in seeds that make such a request.
 */
export async function playMany({ kind, seed, runs, workers, ...manner }: Plays): Promise<Played> {
  const plays = Array.from({ length: runs }, (_, index): Play => ({ seed: seed + index, ...manner }));
  const all = await playAll(kind, plays, workers);
  if (!isCampaign({ kind, runs, ...manner })) return all;
  for (let round = 0; round < triesPerGap; round += 1) {
    const gaps = gapsOf(all.coverage);
    const more = gaps.flatMap(({ request, fault, seeds }): Play[] => {
      const seed = seeds[round % seeds.length];
      return seed === undefined ? [] : [{ seed, strike: { request, fault } }];
    });
    const played = await playAll(kind, more, workers);
    all.wrong.push(...played.wrong);
    add(all.coverage, played.coverage);
  }
  return all;
}

/** Cells that a campaign of this size should have struck and did not. */
export function emptyIn({ coverage }: Played, plays: Campaign): string[] {
  return isCampaign(plays) ? emptyOf(coverage, triesPerGap) : [];
}

type Campaign = Pick<Plays, "kind" | "runs" | "weather" | "story" | "heavy">;

function isCampaign({ kind, runs, weather, story, heavy = false }: Campaign): boolean {
  return kind === "simulate" && runs >= ciRuns && weather === undefined && story === undefined && !heavy;
}

/** The command that prints the story of a play. */
export function commandOf({ seed, strike, weather, story, heavy = false }: Play, kind: Kind): string {
  const asked = strike ? ` --strike "${strike.request}: ${strike.fault}"` : "";
  const more = `${asked}${weather === undefined ? "" : ` --weather "${weather}"`}${story === undefined ? "" : ` --story ${story}`}${heavy ? " --heavy" : ""}`;
  return `npm run test:simulate -- --seed ${seed}${more}${kind === "adversary" ? " --adversary" : ""}`;
}

export function strikeOf(text: string): Strike {
  const [request = "", fault = ""] = text.split(": ");
  return { request, fault };
}

async function playAll(kind: Kind, plays: readonly Play[], workers: number): Promise<Played> {
  const shares = Array.from({ length: workers }, (_, k) => plays.filter((_, index) => index % workers === k));
  const parts = await Promise.all(shares.filter((share) => share.length > 0).map((share) => work(kind, share)));
  const coverage: Counted = { requests: {}, events: {} };
  for (const part of parts) add(coverage, part.coverage);
  return { wrong: parts.flatMap(({ wrong }) => wrong).toSorted((a, b) => a.seed - b.seed), coverage };
}

/**
 * How the process of a worker collects garbage. The objects of a request die young: room for them saves most of the
 * collection. There is a worker for every core, so that threads for the collection would only take time from others.
 */
const collection = ["--max-semi-space-size=32", "--single-threaded-gc"];
/** Node keeps what it has compiled: a worker then starts in half the time. */
const keepsCompiled = ["--import", new URL("../../tools/node24.mjs", import.meta.url).href];

function work(kind: Kind, plays: readonly Play[]): Promise<Played> {
  return new Promise((resolve, reject) => {
    const execArgv = [...collection, ...keepsCompiled];
    const worker = fork(fileURLToPath(new URL("worker.ts", import.meta.url)), { execArgv });
    worker.once("message", (played) => resolve(played as Played));
    worker.once("error", reject);
    worker.once("exit", (code, signal) =>
      reject(new Error(`a worker of the simulation ended without a result: ${signal ?? `exit code ${code ?? ""}`}`)),
    );
    const share: Share = { kind, plays };
    worker.send(share);
  });
}

/** Adds the result of a play, in a worker or in this process. */
export function resultOf(played: Played, play: Play, result: Result): void {
  add(played.coverage, result.coverage);
  if (result.violations.length > 0) played.wrong.push({ ...play, violations: result.violations });
}

export function optionsOf({ strike, weather, story, heavy }: Play): Omit<SimulateOptions, "told"> {
  return {
    ...(strike === undefined ? {} : { strike }),
    ...(weather === undefined ? {} : { weather }),
    ...(story === undefined ? {} : { story }),
    ...(heavy === undefined ? {} : { heavy }),
  };
}
