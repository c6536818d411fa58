import type { JsonObject, JsonValue } from '@xenolith/kernel';
import { badRequest } from './status.js';

/**
 * Kubernetes' clients for its own kinds (as in `kubectl create namespace` and `kubectl auth can-i`) send protobuf whatever the server offers. The few
 * messages that reach us are read here; numbers of fields are those of k8s.io/api's generated.proto files.
 */
export const PROTOBUF_TYPE = 'application/vnd.kubernetes.protobuf';

type FieldShape =
  | { readonly name: string; readonly as: 'text' | 'flag' | 'number' }
  | { readonly name: string; readonly as: 'message'; readonly of: MessageShape }
  | { readonly name: string; readonly as: 'texts' }
  | { readonly name: string; readonly as: 'messages'; readonly of: MessageShape }
  | { readonly name: string; readonly as: 'map' | 'quantities' };
type MessageShape = Readonly<Record<number, FieldShape>>;

const text = (name: string): FieldShape => ({ name, as: 'text' });

const ownerReference: MessageShape = {
  1: text('kind'),
  3: text('name'),
  4: text('uid'),
  5: text('apiVersion'),
  6: { name: 'controller', as: 'flag' },
  7: { name: 'blockOwnerDeletion', as: 'flag' },
};

const objectMeta: MessageShape = {
  1: text('name'),
  2: text('generateName'),
  3: text('namespace'),
  5: text('uid'),
  6: text('resourceVersion'),
  11: { name: 'labels', as: 'map' },
  12: { name: 'annotations', as: 'map' },
  13: { name: 'ownerReferences', as: 'messages', of: ownerReference },
  14: { name: 'finalizers', as: 'texts' },
};

const metadata: FieldShape = { name: 'metadata', as: 'message', of: objectMeta };

const resourceAttributes: MessageShape = {
  1: text('namespace'),
  2: text('verb'),
  3: text('group'),
  4: text('version'),
  5: text('resource'),
  6: text('subresource'),
  7: text('name'),
};

const accessSpec: MessageShape = {
  1: { name: 'resourceAttributes', as: 'message', of: resourceAttributes },
  2: { name: 'nonResourceAttributes', as: 'message', of: { 1: text('path'), 2: text('verb') } },
};

const subjectAccessReview: MessageShape = {
  1: metadata,
  2: {
    name: 'spec',
    as: 'message',
    of: { ...accessSpec, 3: text('user'), 4: { name: 'groups', as: 'texts' }, 6: text('uid') },
  },
};

const policyRule: MessageShape = {
  1: { name: 'verbs', as: 'texts' },
  2: { name: 'apiGroups', as: 'texts' },
  3: { name: 'resources', as: 'texts' },
  4: { name: 'resourceNames', as: 'texts' },
  5: { name: 'nonResourceURLs', as: 'texts' },
};

const role: MessageShape = { 1: metadata, 2: { name: 'rules', as: 'messages', of: policyRule } };

const roleBinding: MessageShape = {
  1: metadata,
  2: {
    name: 'subjects',
    as: 'messages',
    of: { 1: text('kind'), 2: text('apiGroup'), 3: text('name'), 4: text('namespace') },
  },
  3: { name: 'roleRef', as: 'message', of: { 1: text('apiGroup'), 2: text('kind'), 3: text('name') } },
};

/** Messages by their kind. */
const MESSAGES: Readonly<Record<string, MessageShape>> = {
  Namespace: {
    1: metadata,
    2: { name: 'spec', as: 'message', of: { 1: { name: 'finalizers', as: 'texts' } } },
  },
  ResourceQuota: {
    1: metadata,
    2: {
      name: 'spec',
      as: 'message',
      of: { 1: { name: 'hard', as: 'quantities' }, 2: { name: 'scopes', as: 'texts' } },
    },
  },
  DeleteOptions: {
    1: { name: 'gracePeriodSeconds', as: 'number' },
    2: { name: 'preconditions', as: 'message', of: { 1: text('uid'), 2: text('resourceVersion') } },
    3: { name: 'orphanDependents', as: 'flag' },
    4: text('propagationPolicy'),
    5: { name: 'dryRun', as: 'texts' },
  },
  SelfSubjectReview: { 1: metadata },
  SelfSubjectAccessReview: {
    1: metadata,
    2: { name: 'spec', as: 'message', of: accessSpec },
  },
  SubjectAccessReview: subjectAccessReview,
  LocalSubjectAccessReview: subjectAccessReview,
  TokenReview: {
    1: metadata,
    2: { name: 'spec', as: 'message', of: { 1: text('token'), 2: { name: 'audiences', as: 'texts' } } },
  },
  Role: role,
  // Field 3 is the aggregation rule, which is refused: its content does not matter.
  ClusterRole: { ...role, 3: { name: 'aggregationRule', as: 'message', of: {} } },
  RoleBinding: roleBinding,
  ClusterRoleBinding: roleBinding,
  SelfSubjectRulesReview: { 1: metadata, 2: { name: 'spec', as: 'message', of: { 1: text('namespace') } } },
};

interface WireField {
  readonly number: number;
  /** Of wire type 0; else 0. */
  readonly value: number;
  /** Of wire type 2; else empty. */
  readonly bytes: Buffer;
}

const broken = () => badRequest('the body is not a Kubernetes protobuf message; send JSON');

/** The longest varint that a field of these messages needs: 64 bits, read as a number. */
const MAX_VARINT_BYTES = 10;

const readVarint = (bytes: Buffer, from: number): { readonly value: number; readonly next: number } => {
  let value = 0;
  for (let at = 0; at < MAX_VARINT_BYTES; at += 1) {
    const byte = bytes[from + at];
    if (byte === undefined) throw broken();
    value += (byte & 0x7f) * 2 ** (7 * at);
    if (byte < 0x80) return { value, next: from + at + 1 };
  }
  throw broken();
};

function* wireFields(bytes: Buffer): Generator<WireField> {
  for (let at = 0; at < bytes.length;) {
    const tag = readVarint(bytes, at);
    const [number, wireType] = [Math.floor(tag.value / 8), tag.value % 8];
    if (wireType === 0) {
      const { value, next } = readVarint(bytes, tag.next);
      yield { number, value, bytes: Buffer.alloc(0) };
      at = next;
      continue;
    }
    if (wireType === 1 || wireType === 5) {
      at = tag.next + (wireType === 1 ? 8 : 4);
      continue;
    }
    if (wireType !== 2) throw broken();
    const length = readVarint(bytes, tag.next);
    const end = length.next + length.value;
    if (end > bytes.length) throw broken();
    yield { number, value: 0, bytes: bytes.subarray(length.next, end) };
    at = end;
  }
}

/** A quantity is a message whose first field is its text. */
const quantityText = (bytes: Buffer): string => {
  for (const field of wireFields(bytes)) if (field.number === 1) return field.bytes.toString();
  return '';
};

const mapEntry = (bytes: Buffer, textOf: (value: Buffer) => string): readonly [string, string] => {
  let [key, value] = ['', ''];
  for (const field of wireFields(bytes)) {
    if (field.number === 1) key = field.bytes.toString();
    if (field.number === 2) value = textOf(field.bytes);
  }
  return [key, value];
};

const readMessage = (shape: MessageShape, bytes: Buffer): JsonObject => {
  const members = new Map<string, JsonValue>();
  for (const field of wireFields(bytes)) {
    const known = shape[field.number];
    if (known !== undefined) members.set(known.name, readField(known, field, members.get(known.name)));
  }
  return Object.fromEntries(members);
};

const readField = (shape: FieldShape, field: WireField, before: JsonValue | undefined): JsonValue => {
  const list = Array.isArray(before) ? (before as readonly JsonValue[]) : [];
  switch (shape.as) {
    case 'text':
      return field.bytes.toString();
    case 'flag':
      return field.value !== 0;
    case 'number':
      return field.value;
    case 'texts':
      return [...list, field.bytes.toString()];
    case 'message':
      return readMessage(shape.of, field.bytes);
    case 'messages':
      return [...list, readMessage(shape.of, field.bytes)];
    case 'map':
    case 'quantities': {
      const textOf = shape.as === 'map' ? (bytes: Buffer) => bytes.toString() : quantityText;
      const entries = typeof before === 'object' && before !== null ? Object.entries(before as JsonObject) : [];
      return Object.fromEntries([...entries, mapEntry(field.bytes, textOf)]);
    }
  }
};

/** Kubernetes marks its protobuf with these four bytes; what follows is a `runtime.Unknown`. */
const MAGIC = Buffer.from([0x6b, 0x38, 0x73, 0x00]);

const envelope: MessageShape = {
  1: { name: 'typeMeta', as: 'message', of: { 1: text('apiVersion'), 2: text('kind') } },
};

/** An object out of Kubernetes' protobuf, for the kinds above; empty members that protobuf writes anyway are left out. Throws a StatusError. */
export const parseKubernetesProtobuf = (body: Buffer): JsonObject => {
  if (!body.subarray(0, MAGIC.length).equals(MAGIC)) throw broken();
  const unknown = body.subarray(MAGIC.length);
  const { typeMeta } = readMessage(envelope, unknown);
  const { apiVersion = '', kind = '' } = (typeMeta ?? {}) as { apiVersion?: string; kind?: string };
  const shape = MESSAGES[kind];
  if (shape === undefined) throw badRequest(`protobuf of kind "${kind}" is not read here; send JSON`);
  let raw = Buffer.alloc(0);
  for (const field of wireFields(unknown)) if (field.number === 2) raw = Buffer.from(field.bytes);
  return { apiVersion, kind, ...withoutEmpty(readMessage(shape, raw)) };
};

const withoutEmpty = (members: JsonObject): JsonObject =>
  Object.fromEntries(
    Object.entries(members)
      .map(([name, value]): [string, JsonValue | undefined] => [
        name,
        typeof value === 'object' && value !== null && !Array.isArray(value)
          ? withoutEmpty(value as JsonObject)
          : value,
      ])
      .filter(([, value]) => value !== '' && value !== undefined),
  );
