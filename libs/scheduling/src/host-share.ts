import type { Uuid } from '@xenolith/kernel';

/** Of a uid that is drawn evenly the last digits are, too; 65,536 values divide any number of schedulers well. */
const DIGITS = 4;

/**
 * The hosts that this scheduler takes first among those that are about as good, while others look after the rest: schedulers at work side by side
 * then seldom reserve on one host at once. A preference only, so that they need not agree on it: any of them may take any host.
 */
export class HostShare {
  private place = 0;
  private schedulers = 1;

  /** This scheduler is number `place`, from 0 on, of so many. */
  divide(place: number, schedulers: number): void {
    this.place = place;
    this.schedulers = schedulers;
  }

  get isWhole(): boolean {
    return this.schedulers === 1;
  }

  has(hostUid: Uuid): boolean {
    return Number.parseInt(hostUid.slice(-DIGITS), 16) % this.schedulers === this.place;
  }
}
