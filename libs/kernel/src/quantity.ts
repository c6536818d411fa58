import { reject, ok, type Result } from './result.js';

const FACTORS: Readonly<Record<string, number>> = {
  '': 1,
  m: 1e-3,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  Pi: 2 ** 50,
  Ei: 2 ** 60,
};

const QUANTITY = /^([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([EPTGMk]i?|Ki|m))?$/;

/** Reads a Kubernetes quantity such as `4Gi`, `500M` or `250m` as a number in its base unit (bytes, cores). */
export const parseQuantity = (text: string): Result<number> => {
  const match = QUANTITY.exec(text.trim());
  if (!match)
    return reject(
      'quantity_malformed',
      `"${text}" is not a quantity; write a number with a unit such as 512Mi, 4Gi or 20G`,
    );
  const scale = match[2] !== undefined ? Number(`1${match[2]}`) : FACTORS[match[3] ?? ''];
  return ok(Number(match[1]) * (scale ?? 1));
};

/** Bytes of a quantity that a schema has checked already. */
export const bytesOf = (quantity: string): number => {
  const parsed = parseQuantity(quantity);
  return parsed.ok ? Math.ceil(parsed.value) : 0;
};

const BINARY_UNITS = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'] as const;

/** The shortest exact binary quantity of `bytes`: 4294967296 gives `4Gi`, 1000 gives `1000`. */
export const formatBytes = (bytes: number): string => {
  let [value, unit] = [bytes, 0];
  while (value !== 0 && value % 1024 === 0 && unit < BINARY_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value}${BINARY_UNITS[unit] ?? ''}`;
};

/** `bytes` for people, with at most one decimal: 9770000000 gives `9.1Gi`. For messages only, as it rounds. */
export const approximateBytes = (bytes: number): string => {
  let [value, unit] = [bytes, 0];
  while (Math.abs(value) >= 1024 && unit < BINARY_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Math.round(value * 10) / 10}${BINARY_UNITS[unit] ?? ''}`;
};
