/** What is wrong, in a sentence; undefined when nothing is. */
export type HealthCheck = () => string | undefined | Promise<string | undefined>;

export interface HealthReport {
  readonly ok: boolean;
  /** As Kubernetes' API server prints it for `?verbose`. */
  readonly text: string;
}

/** A check that does not answer counts as failed, before the probe itself gives up after 2 s and learns nothing. */
const CHECK_LIMIT_MS = 1_500;

/** Named checks, asked for each probe. */
export class Health {
  readonly #checks = new Map<string, HealthCheck>([['ping', () => undefined]]);

  constructor(private readonly endpoint: 'livez' | 'readyz') {}

  /** A name that is known already gets the new check. */
  set(name: string, check: HealthCheck): void {
    this.#checks.set(name, check);
  }

  /** One check alone; an unknown name fails. */
  async reportOf(name: string): Promise<HealthReport> {
    const check = this.#checks.get(name) ?? (() => 'there is no such check');
    return this.#ask([[name, check]]);
  }

  report(excluded: readonly string[] = []): Promise<HealthReport> {
    return this.#ask([...this.#checks].filter(([name]) => !excluded.includes(name)));
  }

  /** Each check by its name, and whether it holds. */
  async checks(): Promise<ReadonlyMap<string, boolean>> {
    const settled = [...this.#checks].map(async ([name, check]): Promise<[string, boolean]> => [
      name,
      (await settle(check)) === undefined,
    ]);
    return new Map(await Promise.all(settled));
  }

  async #ask(asked: readonly (readonly [string, HealthCheck])[]): Promise<HealthReport> {
    const results = await Promise.all(asked.map(async ([name, check]) => ({ name, problem: await settle(check) })));
    const lines = results.map(({ name, problem }) =>
      problem === undefined ? `[+]${name} ok` : `[-]${name} failed: ${problem}`,
    );
    const ok = results.every(({ problem }) => problem === undefined);
    return { ok, text: `${lines.join('\n')}\n${this.endpoint} check ${ok ? 'passed' : 'failed'}\n` };
  }
}

const settle = async (check: HealthCheck): Promise<string | undefined> => {
  let limit: NodeJS.Timeout | undefined;
  const late = new Promise<string>((resolve) => {
    limit = setTimeout(() => resolve(`no answer within ${CHECK_LIMIT_MS} ms`), CHECK_LIMIT_MS);
  });
  try {
    return await Promise.race([check(), late]);
  } catch (error) {
    return error instanceof Error ? error.message : 'the check itself failed';
  } finally {
    clearTimeout(limit);
  }
};
