const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const YEAR = 365 * DAY;

/** `3m5s`, and `3m` where the smaller unit is zero. */
const two = (durationMs: number, large: readonly [number, string], small: readonly [number, string]): string => {
  const whole = Math.floor(durationMs / large[0]);
  const rest = Math.floor((durationMs % large[0]) / small[0]);
  return rest === 0 ? `${whole}${large[1]}` : `${whole}${large[1]}${rest}${small[1]}`;
};

/**
 * An age with two to three significant digits, in the steps of Kubernetes' `duration.HumanDuration` (apimachinery, util/duration), so that tables
 * read the same: `45s`, `2m30s`, `45m`, `3h20m`, `20h`, `5d3h`, `40d`, `3y120d`, `9y`. Less than two seconds in the future counts as `0s`.
 */
export const humanDuration = (durationMs: number): string => {
  if (durationMs <= -2 * SECOND) return '<invalid>';
  if (durationMs < 0) return '0s';
  if (durationMs < 2 * MINUTE) return `${Math.floor(durationMs / SECOND)}s`;
  if (durationMs < 10 * MINUTE) return two(durationMs, [MINUTE, 'm'], [SECOND, 's']);
  if (durationMs < 3 * HOUR) return `${Math.floor(durationMs / MINUTE)}m`;
  if (durationMs < 8 * HOUR) return two(durationMs, [HOUR, 'h'], [MINUTE, 'm']);
  if (durationMs < 2 * DAY) return `${Math.floor(durationMs / HOUR)}h`;
  if (durationMs < 8 * DAY) return two(durationMs, [DAY, 'd'], [HOUR, 'h']);
  if (durationMs < 2 * YEAR) return `${Math.floor(durationMs / DAY)}d`;
  if (durationMs < 8 * YEAR) return two(durationMs, [YEAR, 'y'], [DAY, 'd']);
  return `${Math.floor(durationMs / YEAR)}y`;
};
