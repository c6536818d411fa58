import type { ContainerPlatform } from './platform.js';

/** What a caller was told about the machine that it asked for. */
export type Told =
  | { readonly outcome: 'created'; readonly name: string; readonly uid: string }
  /** Refused, or nobody answered: it may exist or not. */
  | { readonly outcome: 'unknown'; readonly name: string; readonly why: string };

/** Past this a caller does not know what became of the request. */
const PATIENCE = '20s';

/** Longer than any outage that a test brings about; past this the platform does not come back. */
const OUTAGE_LIMIT_MS = 240_000;

const manifest = (name: string): string =>
  JSON.stringify({
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: { name, namespace: 'default' },
    spec: {
      cpu: { vcpus: 1 },
      memory: '256Mi',
      disks: [{ name: 'root', source: { image: 'alpine-3' } }],
      nics: [{ name: 'eth0', network: 'default' }],
    },
  });

/** People who create machines with kubectl, one after the other, each under a new name, and remember what they were told. */
export class Callers {
  readonly told: Told[] = [];
  private asked = 0;
  private waiting: { readonly created: number; readonly done: () => void }[] = [];

  constructor(private readonly platform: ContainerPlatform) {}

  get created(): readonly Extract<Told, { outcome: 'created' }>[] {
    return this.told.filter((each) => each.outcome === 'created');
  }

  async createOne(): Promise<Told> {
    this.asked += 1;
    const name = `vm-${String(this.asked).padStart(4, '0')}`;
    const { code, stdout, stderr } = await this.platform.tryKubectl(
      ['create', '-f', '-', '-o', 'json', `--request-timeout=${PATIENCE}`],
      manifest(name),
    );
    const told: Told =
      code === 0
        ? { outcome: 'created', name, uid: (JSON.parse(stdout) as { metadata: { uid: string } }).metadata.uid }
        : { outcome: 'unknown', name, why: stderr.trim() };
    this.told.push(told);
    this.wake();
    return told;
  }

  /**
   * Two callers are at work while `disturbance` goes on, and after it until each could have been told of a machine that was created then; so they
   * show that the platform works again.
   */
  async during(disturbance: () => Promise<void>): Promise<void> {
    let over = false;
    const caller = async (): Promise<void> => {
      let lastCreated = Date.now();
      for (;;) {
        const startedAfter = over;
        const told = await this.createOne();
        if (told.outcome === 'created') {
          if (startedAfter) return;
          lastCreated = Date.now();
        } else if (Date.now() - lastCreated > OUTAGE_LIMIT_MS)
          throw new Error(`no machine can be created any more: ${told.why}`);
      }
    };
    const working = Promise.all([caller(), caller()]);
    try {
      await Promise.race([this.createdOnce(), working]);
      await disturbance();
    } finally {
      over = true;
      await working;
    }
  }

  /** Settles when one more machine was created: the callers are at work. */
  private async createdOnce(): Promise<void> {
    const created = this.created.length + 1;
    await new Promise<void>((done) => this.waiting.push({ created, done }));
  }

  private wake(): void {
    const { length } = this.created;
    for (const { done } of this.waiting.filter(({ created }) => created <= length)) done();
    this.waiting = this.waiting.filter(({ created }) => created > length);
  }
}
