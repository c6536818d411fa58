/** What was thrown, as an `Error`: handlers may throw anything. */
export const errorFrom = (thrown: unknown): Error =>
  thrown instanceof Error ? thrown : new Error('something was thrown that is not an error', { cause: thrown });
