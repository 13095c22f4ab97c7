/** The oldest major version of Node that runs TypeScript as it stands. */
export declare const OLDEST_NODE: number;

/** The project's own Node, from npm. */
export declare const ownNode: string;

/** Whether this process runs on a Node that is new enough. */
export declare function isNewEnough(): boolean;

/** Has Node keep what it compiles, and use it the next time. */
export declare function keepCompiled(): void;

/** Puts the link to the own Node where it is looked for, when npm left it out. */
export declare function linkOwnNode(): void;
