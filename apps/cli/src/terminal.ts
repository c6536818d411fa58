/** Something that the person at the keyboard can mend. Shown without a stack; each line of `advice` says what to do next. */
export class UserError extends Error {
  override readonly name = 'UserError';
  constructor(
    message: string,
    readonly advice: readonly string[] = [],
    readonly exitCode = 1,
  ) {
    super(message);
  }
}

/** One line for people. Standard output stays free for what scripts read. */
export const say = (line: string): void => {
  process.stderr.write(`${line}\n`);
};

export const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));

/** `12.3 s`, from milliseconds. */
export const seconds = (durationMs: number): string => `${(durationMs / 1000).toFixed(1)} s`;

/** Lines with their columns aligned, two blanks apart. */
export const table = (rows: readonly (readonly string[])[]): string => {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, column) => (widths[column] = Math.max(widths[column] ?? 0, cell.length)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
};
