/** How a thing stands: `skipped` says why it could not be looked at. */
export type Level = 'ok' | 'warning' | 'error' | 'skipped';

/** What a look at one thing showed. */
export interface Finding {
  readonly check: string;
  readonly level: Level;
  readonly says: string;
  /** What to do now; absent where there is nothing to do. */
  readonly advice?: string;
}

export const fine = (check: string, says: string): Finding => ({ check, level: 'ok', says });
export const skipped = (check: string, says: string): Finding => ({ check, level: 'skipped', says });
export const warning = (check: string, says: string, advice: string): Finding => ({
  check,
  level: 'warning',
  says,
  advice,
});
export const wrong = (check: string, says: string, advice: string): Finding => ({
  check,
  level: 'error',
  says,
  advice,
});
