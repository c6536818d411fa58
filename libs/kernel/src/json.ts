export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
export interface JsonObject {
  readonly [key: string]: JsonValue | undefined;
}

/**
 * JSON with object keys in code-point order and `undefined` members left out: equal values give equal text, on every
 * machine. Used for request hashes and log hashes.
 */
export const canonicalJson = (value: unknown): string => {
  if (value === undefined) return 'null';
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => canonicalJson(item)).join(',')}]`;
  const members: string[] = [];
  for (const key of Object.keys(value).sort()) {
    const member = (value as Record<string, unknown>)[key];
    if (member !== undefined) members.push(`${JSON.stringify(key)}:${canonicalJson(member)}`);
  }
  return `{${members.join(',')}}`;
};

/** Deep equality of JSON values; members that are `undefined` count as absent. */
export const sameJson = (left: unknown, right: unknown): boolean =>
  left === right || canonicalJson(left) === canonicalJson(right);
