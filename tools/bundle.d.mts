/** What is bundled, by name: paths relative to the project. */
export declare const bundles: Readonly<Record<"step" | "commandPlugin", { entry: string; out: string }>>;

/**
 * Bundles what is missing or older than one of its inputs.
 * @returns the paths that were written
 */
export declare function bundle(options?: { force?: boolean }): Promise<string[]>;
