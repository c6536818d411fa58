import { isKubernetesKind } from '@xenolith/contracts';
import type { JsonObject } from '@xenolith/kernel';
import type { ServedKind, Verb } from '../discovery/served-kind.js';
import { DELETE_OPTIONS, PATCH, STATUS } from './meta-schemas.js';

/** Content of a body or an answer. */
const json = (schema: JsonObject): JsonObject => ({ 'application/json': { schema } });

const query = (name: string, description: string, type = 'string'): JsonObject => ({
  name,
  in: 'query',
  description,
  schema: { type, uniqueItems: true },
});

const pathParameter = (name: string, description: string): JsonObject => ({
  name,
  in: 'path',
  required: true,
  description,
  schema: { type: 'string', uniqueItems: true },
});

const DRY_RUN = query('dryRun', '`All`: check and answer as if, but write nothing.');
const FIELD_MANAGER = query('fieldManager', 'Who owns the fields that the request changes.');
/** kubectl asks for this parameter to learn whether the server checks fields itself. */
const FIELD_VALIDATION = query('fieldValidation', 'What to do with unknown fields: Ignore, Warn (default) or Strict.');
const FORCE = query('force', 'Take fields over from other managers; for apply only.', 'boolean');
const WRITE = [DRY_RUN, FIELD_MANAGER, FIELD_VALIDATION];
const LIST = [
  query('allowWatchBookmarks', 'Send bookmarks in a watch.', 'boolean'),
  query('continue', 'Token of the page before.'),
  query('fieldSelector', 'Only objects with these fields.'),
  query('labelSelector', 'Only objects with these labels.'),
  query('limit', 'Most objects in one answer.', 'integer'),
  query('resourceVersion', 'The version to list or to watch from.'),
  query('resourceVersionMatch', 'How resourceVersion is meant: NotOlderThan or Exact.'),
  query('sendInitialEvents', 'Begin a watch with the objects that there are.', 'boolean'),
  query('timeoutSeconds', 'How long a list or watch may last.', 'integer'),
  query('watch', 'Send changes as they come.', 'boolean'),
];
const DELETE = [
  DRY_RUN,
  query('gracePeriodSeconds', 'Ignored.', 'integer'),
  query('propagationPolicy', 'What becomes of dependents: Orphan, Background or Foreground.'),
];

const PATCH_TYPES = ['application/apply-patch+yaml', 'application/json-patch+json', 'application/merge-patch+json'];

/** Strategic merge is for Kubernetes' own kinds only: kubectl sends it wherever this page names it. */
const patchTypesOf = (kind: ServedKind): readonly string[] =>
  isKubernetesKind(kind) ? [...PATCH_TYPES, 'application/strategic-merge-patch+json'] : PATCH_TYPES;

interface Target {
  readonly kind: ServedKind;
  readonly object: JsonObject;
  readonly list: JsonObject;
  /** What the `metrics` subresource answers, where there is one. */
  readonly figures?: JsonObject | undefined;
}

const capital = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1);

interface OperationForm {
  readonly verb: Verb;
  /** Kubernetes' word for the operation. */
  readonly action: string;
  readonly answer: JsonObject;
  readonly parameters?: readonly JsonObject[];
  readonly body?: JsonObject;
  readonly code?: string;
  readonly suffix?: string;
}

const operation = (kind: ServedKind, form: OperationForm): JsonObject => ({
  tags: [`${kind.group === '' ? 'core' : kind.group}_${kind.version}`],
  description: `${form.verb} ${kind.kind} objects`,
  operationId: `${form.verb}${kind.group.split('.').map(capital).join('')}${capital(kind.version)}${kind.namespaced ? 'Namespaced' : ''}${kind.kind}${form.suffix ?? ''}`,
  ...(form.parameters && { parameters: form.parameters }),
  ...(form.body && { requestBody: { content: form.body, required: true } }),
  responses: {
    [form.code ?? '200']: { description: 'OK', content: json(form.answer) },
    401: { description: 'Unauthorized' },
  },
  'x-kubernetes-action': form.action,
  'x-kubernetes-group-version-kind': { group: kind.group, kind: kind.kind, version: kind.version },
});

const allowed = (kind: ServedKind, operations: Readonly<Record<string, OperationForm>>): JsonObject =>
  Object.fromEntries(
    Object.entries(operations)
      .filter(([, form]) => kind.verbs.includes(form.verb))
      .map(([method, form]) => [method, operation(kind, form)]),
  );

const collection = ({ kind, object, list }: Target): JsonObject =>
  allowed(kind, {
    get: { verb: 'list', action: 'list', answer: list, parameters: LIST },
    post: { verb: 'create', action: 'post', answer: object, parameters: WRITE, body: json(object), code: '201' },
    delete: {
      verb: 'deletecollection',
      action: 'deletecollection',
      answer: STATUS,
      parameters: [...DELETE, ...LIST],
      body: json(DELETE_OPTIONS),
    },
  });

const item = ({ kind, object }: Target): JsonObject =>
  allowed(kind, {
    get: { verb: 'get', action: 'get', answer: object },
    put: { verb: 'update', action: 'put', answer: object, parameters: WRITE, body: json(object) },
    patch: {
      verb: 'patch',
      action: 'patch',
      answer: object,
      parameters: [...WRITE, FORCE],
      body: Object.fromEntries(patchTypesOf(kind).map((type) => [type, { schema: PATCH }])),
    },
    delete: { verb: 'delete', action: 'delete', answer: STATUS, parameters: DELETE, body: json(DELETE_OPTIONS) },
  });

const PRINTED: JsonObject = { type: 'string', description: 'What the tool printed.' };

const TOLD: Readonly<Record<string, JsonObject>> = {
  history: {
    type: 'object',
    description: 'All that happened to the object, oldest first, with what each event changed.',
  },
  why: { type: 'object', description: 'What set a field, and the chain of causes that led there.' },
};

const answerOf = (subresource: string, otherwise: JsonObject): JsonObject => TOLD[subresource] ?? otherwise;

const subresources = ({ kind, object, figures }: Target, path: string): readonly [string, JsonObject][] =>
  kind.subresources.map(({ name, action, tool }) => {
    // Figures are a kind of their own too, whose operations have this name already.
    const suffix = name === 'metrics' ? 'MetricsSubresource' : name.split('-').map(capital).join('');
    const form: OperationForm =
      action === undefined
        ? {
            verb: 'get',
            action: 'get',
            answer: answerOf(
              name,
              tool === undefined ? ((name === 'metrics' ? figures : undefined) ?? object) : PRINTED,
            ),
            suffix,
          }
        : {
            verb: 'create',
            action: 'post',
            answer: { type: 'object', description: 'The Operation.' },
            code: '201',
            suffix,
          };
    return [`${path}/${name}`, { [action === undefined ? 'get' : 'post']: operation(kind, form) }];
  });

/** The paths of a kind; `object` and `list` refer to its schemas. */
export const pathsOfKind = (target: Target): JsonObject => {
  const { kind } = target;
  const root = kind.group === '' ? `/api/${kind.version}` : `/apis/${kind.group}/${kind.version}`;
  const namespace = kind.namespaced ? [pathParameter('namespace', 'Namespace of the object.')] : [];
  const home = kind.namespaced ? `${root}/namespaces/{namespace}/${kind.plural}` : `${root}/${kind.plural}`;
  const named = [...namespace, pathParameter('name', `Name of the ${kind.kind}.`)];
  const everywhere: OperationForm = {
    verb: 'list',
    action: 'list',
    answer: target.list,
    parameters: LIST,
    suffix: 'ForAllNamespaces',
  };
  return {
    ...(kind.namespaced &&
      kind.verbs.includes('list') && { [`${root}/${kind.plural}`]: { get: operation(kind, everywhere) } }),
    [home]: { ...collection(target), ...(namespace.length > 0 && { parameters: namespace }) },
    [`${home}/{name}`]: { ...item(target), parameters: named },
    ...Object.fromEntries(
      subresources(target, `${home}/{name}`).map(([path, operations]) => [path, { ...operations, parameters: named }]),
    ),
  };
};
