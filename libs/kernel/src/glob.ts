/** Matches a whole text; `*` is any text, `?` one character, everything else itself. */
export const globOf = (pattern: string): RegExp => {
  const text = pattern.replace(/[.+^${}()|[\]\\]/g, String.raw`\$&`);
  return new RegExp(`^${text.replaceAll('*', '.*').replaceAll('?', '.')}$`);
};
