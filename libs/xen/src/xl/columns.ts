/** `%Ns` of printf: at the right end of a column, never cut. */
export const right = (value: string | number, width: number): string => String(value).padStart(width);

/** `%-Ns` of printf: at the left end of a column, never cut. */
export const left = (value: string | number, width: number): string => String(value).padEnd(width);

/** `%N.1f` of printf. */
export const decimal = (value: number, width: number): string => value.toFixed(1).padStart(width);

/** Lines as a tool prints them, each with its end. */
export const lines = (all: readonly string[]): string => all.map((line) => `${line}\n`).join('');

/** A set of CPUs or nodes as xl's `print_bitmap` writes it (tools/xl/xl_utils.c): `all`, `none`, or ranges such as `0-3,8`. */
export const bitmapText = (members: readonly number[], count: number): string => {
  const present = new Set(members);
  const ranges: string[] = [];
  for (let first = 0; first < count; first += 1) {
    if (!present.has(first)) continue;
    let last = first;
    while (last + 1 < count && present.has(last + 1)) last += 1;
    if (first === 0 && last === count - 1) return 'all';
    ranges.push(last > first ? `${first}-${last}` : `${first}`);
    first = last;
  }
  return ranges.length === 0 ? 'none' : ranges.join(',');
};
