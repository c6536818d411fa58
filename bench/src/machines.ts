import type { ApiClient } from './api-client.js';

const COLLECTION = '/apis/compute.xenolith.dev/v1alpha1/namespaces/default/virtualmachines';
/** A machine that does not run by then never will. */
const RUNNING_LIMIT_MS = 30_000;

/** Creates machines and learns by a watch when they run. */
export class Machines {
  readonly #awaited = new Map<string, () => void>();

  constructor(private readonly client: ApiClient) {}

  async start(): Promise<void> {
    const { metadata } = JSON.parse(await this.client.ask('GET', `${COLLECTION}?limit=1`)) as {
      metadata: { resourceVersion: string };
    };
    await this.client.watch(`${COLLECTION}?watch=true&resourceVersion=${metadata.resourceVersion}`, ({ object }) => {
      if (object.status?.powerState === 'Running') this.#awaited.get(object.metadata.name)?.();
    });
  }

  /** Milliseconds from the request to the watch event that shows the machine running. */
  async create(name: string): Promise<number> {
    const start = performance.now();
    const running = new Promise<number>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${name} does not run yet`)), RUNNING_LIMIT_MS);
      this.#awaited.set(name, () => {
        clearTimeout(timer);
        this.#awaited.delete(name);
        resolve(performance.now() - start);
      });
    });
    const [tookMs] = await Promise.all([
      running,
      this.client.ask('POST', COLLECTION, {
        apiVersion: 'compute.xenolith.dev/v1alpha1',
        kind: 'VirtualMachine',
        metadata: { name, namespace: 'default' },
        spec: { cpu: { vcpus: 1 }, memory: '64Mi' },
      }),
    ]);
    return tookMs;
  }
}
