type Segment = string | number;

/** An object or array that the scan is in, and where it is in it. */
interface Level {
  /** Names seen so far; null in an array. */
  readonly names: Set<string> | null;
  /** The name or index of the member that is being read. */
  at: Segment;
  /** In an object: the next string is a name. */
  expectsName: boolean;
}

const openLevel = (bracket: '{' | '['): Level =>
  bracket === '{' ? { names: new Set(), at: '', expectsName: true } : { names: null, at: 0, expectsName: false };

const INTERESTING = /["{}[\],]/g;
const STRING_END = /["\\]/g;

/** The index of the quote that ends the string which begins at `start`. */
const endOfString = (text: string, start: number): number => {
  STRING_END.lastIndex = start + 1;
  for (let found = STRING_END.exec(text); found !== null; found = STRING_END.exec(text)) {
    if (found[0] === '"') return found.index;
    STRING_END.lastIndex = found.index + 2;
  }
  return text.length;
};

/** Most that one answer names. */
const MAX_FOUND = 50;

/**
 * Paths of members that a JSON text names twice in one object, once for each time too many; `JSON.parse` keeps the last and tells nobody. The text must
 * be valid JSON. Time grows with its length, memory with its depth and names.
 */
export const duplicateFields = (text: string): readonly (readonly Segment[])[] => {
  const levels: Level[] = [];
  const found: Segment[][] = [];
  INTERESTING.lastIndex = 0;
  for (let mark = INTERESTING.exec(text); mark !== null && found.length < MAX_FOUND; mark = INTERESTING.exec(text)) {
    const level = levels.at(-1);
    switch (mark[0]) {
      case '{':
      case '[':
        levels.push(openLevel(mark[0]));
        break;
      case '}':
      case ']':
        levels.pop();
        break;
      case ',':
        if (level?.names === null) level.at = Number(level.at) + 1;
        else if (level !== undefined) level.expectsName = true;
        break;
      case '"': {
        const end = endOfString(text, mark.index);
        INTERESTING.lastIndex = end + 1;
        if (level?.names == null || !level.expectsName) break;
        level.expectsName = false;
        level.at = JSON.parse(text.slice(mark.index, end + 1)) as string;
        if (level.names.has(level.at)) found.push(levels.map(({ at }) => at));
        level.names.add(level.at);
        break;
      }
    }
  }
  return found;
};
