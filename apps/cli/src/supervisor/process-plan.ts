/** How one process of the platform is run: data, so that it can be read before anything starts. */
export interface ProcessPlan {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Postgres refuses to run as root. */
  readonly runAs?: { readonly uid: number; readonly gid: number };
  readonly stopSignal: NodeJS.Signals;
  /** After this long without an end comes SIGKILL. */
  readonly stopTimeoutMs: number;
  /** Higher tiers stop first and together: services above the servers that they use. */
  readonly tier: number;
  /** Null once it can do its work; else a phrase that says what is missing. Never throws. */
  readonly checkReady: () => Promise<string | null>;
}
