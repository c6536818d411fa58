import { readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import path from 'node:path';
import { repositoryRoot } from '../folders.js';

/** A place as V8 writes it in a stack: file, line and column, the latter two from 1. */
const PLACE = /(?:file:\/\/)?(\/[^\s()"]+?\.js):(\d+):(\d+)/g;

interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

const maps = new Map<string, SourceMap | null>();

const readMap = (file: string): SourceMap | null => {
  try {
    return new SourceMap(JSON.parse(readFileSync(`${file}.map`, 'utf8')) as SourceMapPayload);
  } catch {
    return null;
  }
};

const mapOf = (file: string): SourceMap | null => {
  const known = maps.get(file);
  if (known !== undefined) return known;
  const map = readMap(file);
  maps.set(file, map);
  return map;
};

/** A bundle is made of what tsc made, which has maps of its own. */
const sourceOf = (place: Place): Place => {
  const entry = mapOf(place.file)?.findEntry(place.line - 1, place.column - 1);
  if (entry === undefined || !('originalSource' in entry)) return place;
  return sourceOf({
    file: path.resolve(path.dirname(place.file), entry.originalSource),
    line: entry.originalLine + 1,
    column: entry.originalColumn + 1,
  });
};

/**
 * The text with its places in compiled files named by their sources. Processes log the places as they run, as to read maps costs each of them a fifth of a
 * second at its start.
 */
export const namingSources = (text: string): string =>
  text.replace(PLACE, (shown, file: string, line: string, column: string) => {
    if (!file.startsWith(`${repositoryRoot}/`)) return shown;
    const source = sourceOf({ file, line: Number(line), column: Number(column) });
    return source.file === file ? shown : `${source.file}:${source.line}:${source.column}`;
  });
