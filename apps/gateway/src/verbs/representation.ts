import { apiVersionOf } from '@xenolith/contracts';
import type { JsonObject, Result } from '@xenolith/kernel';
import { atPosition, parsed, type CachedObject } from '../cache/cached-object.js';
import type { Change, ChangeType } from '../cache/change-ring.js';
import { selects, type Selection } from '../cache/selection.js';
import type { ServedKind } from '../discovery/index.js';
import { statusOfRejection } from '../http/rejection-table.js';
import { badRequest } from '../http/status.js';
import {
  negotiate,
  parseIncludeObject,
  partialObjectMetadata,
  tableOf,
  type IncludeObject,
  type Representation,
} from '../table/index.js';

/** The value, or the refusal as a `Status`. */
export const accepted = <Value>(
  result: Result<Value>,
  about?: { readonly kind: ServedKind; readonly name?: string | undefined },
): Value => {
  if (result.ok) return result.value;
  throw statusOfRejection(result.rejection, about);
};

/** How a client wants to see objects. */
export interface View {
  readonly kind: ServedKind;
  readonly representation: Representation;
  readonly includeObject: IncludeObject;
  /** When ages are told as of, in milliseconds since the epoch; absent: now. */
  readonly now?: number;
  /** Equal for views that give the same bytes. */
  readonly id: string;
}

export const readView = (kind: ServedKind, accept: string | undefined, query: URLSearchParams): View => {
  const representation = accepted(negotiate(accept));
  const includeObject = parseIncludeObject(query.get('includeObject') ?? undefined);
  if (includeObject === null)
    throw badRequest(
      `query parameter includeObject="${query.get('includeObject') ?? ''}" is none of None, Metadata, Object`,
    );
  const id =
    representation.as === 'Table'
      ? `Table/${representation.version}/${includeObject}`
      : representation.as === 'Object'
        ? 'Object'
        : `Partial/${representation.version}`;
  return { kind, representation, includeObject, id };
};

const tableOptions = (view: View, listMetadata: JsonObject) => ({
  version: view.representation.version,
  includeObject: view.includeObject,
  now: view.now ?? Date.now(),
  listMetadata,
});

/** One object, from its text where that is what the client wants. */
export const objectText = (view: View, text: string): string => {
  switch (view.representation.as) {
    case 'Object':
      return text;
    case 'Table': {
      const object = JSON.parse(text) as JsonObject;
      const { resourceVersion } = object['metadata'] as JsonObject;
      return JSON.stringify(tableOf(view.kind, [object], tableOptions(view, { resourceVersion })));
    }
    case 'PartialObjectMetadata':
    case 'PartialObjectMetadataList':
      return JSON.stringify(partialObjectMetadata(JSON.parse(text) as JsonObject, view.representation.version));
  }
};

/** Pieces of a long answer have about this many characters: few writes, and no copy of the whole. */
const PIECE_CHARACTERS = 256 * 1024;

const joined = (head: string, items: Iterable<string>, tail: string): readonly string[] => {
  const pieces: string[] = [];
  let piece = head;
  let separator = '';
  for (const item of items) {
    piece += separator + item;
    separator = ',';
    if (piece.length > PIECE_CHARACTERS) {
      pieces.push(piece);
      piece = '';
    }
  }
  pieces.push(piece + tail);
  return pieces;
};

/** A list, in pieces. */
export const listText = (
  view: View,
  objects: readonly Pick<CachedObject, 'text'>[],
  metadata: JsonObject,
): readonly string[] => {
  const { representation, kind } = view;
  switch (representation.as) {
    case 'Table':
      return [JSON.stringify(tableOf(kind, objects.map(parsed), tableOptions(view, metadata)))];
    case 'Object': {
      const head = `{"kind":"${kind.kind}List","apiVersion":"${apiVersionOf(kind)}","metadata":${JSON.stringify(metadata)},"items":[`;
      return joined(
        head,
        objects.map((object) => object.text),
        ']}',
      );
    }
    case 'PartialObjectMetadata':
    case 'PartialObjectMetadataList': {
      const head = `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/${representation.version}","metadata":${JSON.stringify(metadata)},"items":[`;
      return joined(
        head,
        objects.map((object) => JSON.stringify(partialObjectMetadata(parsed(object), representation.version))),
        ']}',
      );
    }
  }
};

const eventFrame = (type: string, object: string): Buffer => Buffer.from(`{"type":"${type}","object":${object}}\n`);

export const addedFrame = (view: View, object: CachedObject): Buffer =>
  eventFrame('ADDED', objectText(view, object.text));

/** What a change is to somebody who sees only a selection: an object may enter it or leave it. */
const seenAs = (change: Change, selection: Selection): { type: ChangeType; left: boolean } | null => {
  const before = change.previous !== undefined && selects(selection, change.previous);
  const after = change.type !== 'DELETED' && selects(selection, change.object);
  if (after) return { type: before ? 'MODIFIED' : 'ADDED', left: false };
  return before ? { type: 'DELETED', left: change.type !== 'DELETED' } : null;
};

/** The change as one line of a watch; null when the selection does not show it. Encoded once for all who see it alike. */
export const changeFrame = (view: View, selection: Selection, change: Change): Buffer | null => {
  const seen = seenAs(change, selection);
  if (seen === null) return null;
  const key = `${seen.type}/${seen.left}/${view.id}`;
  const known = change.frames.get(key);
  if (known !== undefined) return known;
  // An object that left the selection is shown as it was last seen, at the position of its leaving.
  const object =
    seen.left && change.previous !== undefined ? atPosition(change.previous, change.position) : change.object;
  const frame = eventFrame(seen.type, objectText(view, object.text));
  change.frames.set(key, frame);
  return frame;
};

/** Marks the end of the objects that were there when a watch began. */
const INITIAL_EVENTS_END = 'k8s.io/initial-events-end';

export const bookmarkFrame = (view: View, position: number, endsInitial: boolean): Buffer => {
  const metadata: JsonObject = {
    resourceVersion: String(position),
    ...(endsInitial ? { annotations: { [INITIAL_EVENTS_END]: 'true' } } : {}),
  };
  const { kind, representation } = view;
  const object: JsonObject =
    representation.as === 'Object'
      ? { kind: kind.kind, apiVersion: apiVersionOf(kind), metadata }
      : representation.as === 'Table'
        ? tableOf(kind, [], tableOptions(view, metadata))
        : { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${representation.version}`, metadata };
  return eventFrame('BOOKMARK', JSON.stringify(object));
};

export const errorFrame = (status: JsonObject): Buffer => eventFrame('ERROR', JSON.stringify(status));
