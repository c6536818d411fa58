import { EventEmitter } from 'node:events';

/** A process as the runtime sees it, inside the test's own. */
export class Handle extends EventEmitter {
  readonly codes: number[] = [];
  readonly stderr = { write: (): boolean => true };
  constructor(readonly env: Record<string, string>) {
    super();
  }
  exit(code: number): never {
    this.codes.push(code);
    return undefined as never;
  }
}
