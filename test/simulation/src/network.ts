import type { Random } from '@xenolith/kernel';
import type { NetworkPolicy } from '@xenolith/testing';
import type { LogLuck } from './faulty-log.js';

/** How bad network and database are. Shares in [0, 1]. */
export interface Weather {
  readonly loss: number;
  readonly duplication: number;
  /** Share of messages that are held up for seconds, so that later ones overtake them. */
  readonly stragglers: number;
  /** Share of calls to the log that break. */
  readonly logFaults: number;
}

export const FAIR: Weather = { loss: 0, duplication: 0, stragglers: 0, logFaults: 0 };
export const FOUL: Weather = { loss: 0.05, duplication: 0.1, stragglers: 0.03, logFaults: 0.01 };
/** Nothing is lost, but much comes late. */
export const SLOW: Weather = { loss: 0, duplication: 0.4, stragglers: 0.3, logFaults: 0 };

/** Usual way of a message on a local network, and the most that a straggler is late, in milliseconds. */
const USUAL_DELAY_MS = 3;
const STRAGGLER_DELAY_MS = 8_000;

/** A network whose weather can change. Every message draws its own luck. */
export class Network {
  weather: Weather = FAIR;

  constructor(private readonly random: Random) {}

  readonly policy: NetworkPolicy = () => {
    const { random, weather } = this;
    if (random.chance(weather.loss)) return [];
    const delays = [this.delay()];
    if (random.chance(weather.duplication)) delays.push(this.delay());
    return delays;
  };

  readonly logLuck: LogLuck = () => {
    const { random, weather } = this;
    if (!random.chance(weather.logFaults)) return 'none';
    return random.chance(0.5) ? 'before' : 'after';
  };

  private delay(): number {
    const usual = 0.2 + this.random.next() * USUAL_DELAY_MS;
    return this.random.chance(this.weather.stragglers) ? usual + this.random.next() * STRAGGLER_DELAY_MS : usual;
  }
}
