/** A defect of ours: the process that meets one must stop, as its state can no longer be trusted. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Fails as a defect when `condition` does not hold. Never use it for what a user or a network can cause. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** The value, where absence would be a defect. */
export const present = <Value>(value: Value | null | undefined, message: string): Value => {
  assert(value !== null && value !== undefined, message);
  return value;
};

/** Ends an exhaustive `switch`: the compiler rejects a call that can be reached. */
export const unreachable = (value: never): never => {
  throw new AssertionError(`unreachable value: ${JSON.stringify(value)}`);
};
