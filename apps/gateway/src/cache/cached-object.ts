import { present, type JsonObject, type JsonValue, type Uuid } from '@xenolith/kernel';

/**
 * An object as the gateway keeps it: its JSON as one string and the little that lists select and sort by. A string of plain characters takes one byte
 * each and nothing beside it, less than a parsed object (five times as much) or a buffer of its own (some 350 bytes more).
 */
export interface CachedObject {
  readonly uid: Uuid;
  /** Empty for kinds without a namespace. */
  readonly namespace: string;
  readonly name: string;
  /** Sorts by namespace, then name. */
  readonly key: string;
  /** The log position of the last event of the write that made it: its resourceVersion. */
  readonly position: number;
  /** The version of its stream: what a command states when the user stated a resourceVersion. */
  readonly version: number;
  /** How many characters its text has, or some more: what is kept of past states is bounded by it. */
  readonly characters: number;
  /** The document as JSON; `resourceVersion` is the first member of its metadata. */
  readonly text: string;
  /** The part of the document that selectors read: names, labels, and the kind's selectable fields. */
  readonly index: JsonObject;
}

/** U+0000 is in no name, and sorts before all that is. */
const SEPARATOR = '\u0000';

export const keyOf = (namespace: string, name: string): string => `${namespace}${SEPARATOR}${name}`;

/** Keys of a namespace lie from the first to before the second. */
export const namespaceRange = (namespace: string): { readonly from: string; readonly to: string } => ({
  from: `${namespace}${SEPARATOR}`,
  to: `${namespace}\u0001`,
});

/** Copies of a document's parts that selectors of one kind may read. */
export type Indexer = (document: JsonObject) => JsonObject;

const isObject = (value: JsonValue | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const copyPath = (from: JsonObject, to: Record<string, JsonValue>, members: readonly string[]): void => {
  const [member, ...rest] = members;
  if (member === undefined) return;
  const value = from[member];
  if (value === undefined) return;
  if (rest.length === 0) {
    to[member] = value;
    return;
  }
  if (!isObject(value)) return;
  const inner = (to[member] ?? {}) as Record<string, JsonValue>;
  to[member] = inner;
  copyPath(value, inner, rest);
};

const ALWAYS_INDEXED = ['metadata.name', 'metadata.namespace', 'metadata.uid', 'metadata.labels'];

/** `paths` are such as `spec.powerState`. */
export const indexerOf = (paths: readonly string[]): Indexer => {
  const split = [...new Set([...ALWAYS_INDEXED, ...paths])].map((path) => path.split('.'));
  return (document) => {
    const index: Record<string, JsonValue> = {};
    for (const members of split) copyPath(document, index, members);
    return index;
  };
};

const textOf = (document: JsonObject, position: number): string => {
  const metadata = (document['metadata'] ?? {}) as JsonObject;
  return JSON.stringify({ ...document, metadata: { resourceVersion: String(position), ...metadata } });
};

/** An object that is rendered when somebody looks at it, each time anew: for what is made often, small, and rarely read. */
export class RenderedObject implements CachedObject {
  readonly uid: Uuid;
  readonly namespace: string;
  readonly name: string;
  readonly position: number;
  readonly version: number;
  readonly characters: number;
  private selected: JsonObject | null = null;

  constructor(
    identity: Pick<CachedObject, 'uid' | 'namespace' | 'name' | 'position' | 'version' | 'characters'>,
    private readonly document: () => JsonObject,
    private readonly indexer: Indexer,
  ) {
    this.uid = identity.uid;
    this.namespace = identity.namespace;
    this.name = identity.name;
    this.position = identity.position;
    this.version = identity.version;
    this.characters = identity.characters;
  }

  get key(): string {
    return keyOf(this.namespace, this.name);
  }

  get text(): string {
    return textOf(this.document(), this.position);
  }

  /** Kept once it was asked for: selectors look at all objects of a kind. */
  get index(): JsonObject {
    this.selected ??= this.indexer(this.document());
    return this.selected;
  }
}

export const cachedObject = (source: {
  readonly uid: Uuid;
  readonly position: number;
  readonly version: number;
  readonly document: JsonObject;
  readonly indexer: Indexer;
}): CachedObject => {
  const { uid, position, version, document } = source;
  const metadata = (document['metadata'] ?? {}) as JsonObject;
  const name = present(metadata['name'], 'every document has a name') as string;
  const namespace = (metadata['namespace'] ?? '') as string;
  const text = textOf(document, position);
  return {
    uid,
    namespace,
    name,
    key: keyOf(namespace, name),
    position,
    version,
    characters: text.length,
    text,
    index: source.indexer(document),
  };
};

/** Its first occurrence is the metadata's own: quotes inside strings are escaped, and labels come later. */
const RESOURCE_VERSION = /"resourceVersion":"\d*"/;

/** The same object under another resourceVersion: deletions carry the position of the deletion. */
export const atPosition = (object: CachedObject, position: number, version = object.version): CachedObject => ({
  uid: object.uid,
  namespace: object.namespace,
  name: object.name,
  key: object.key,
  position,
  version,
  characters: object.characters,
  text: object.text.replace(RESOURCE_VERSION, `"resourceVersion":"${position}"`),
  index: object.index,
});

export const parsed = (object: Pick<CachedObject, 'text'>): JsonObject => JSON.parse(object.text) as JsonObject;
