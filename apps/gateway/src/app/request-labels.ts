import { parseResourcePath, type ResourcePath } from '../http/api-path.js';
import { resourceName } from '../http/status.js';

/** What a request asked for, in words that are few: the labels of its figures. */
export interface RequestLabels {
  readonly verb: string;
  /** As RBAC names it: `virtualmachines.compute.xenolith.dev`, with `/console` and the like; empty: no resource. */
  readonly resource: string;
}

const pathOf = (target: string): string => {
  const mark = target.indexOf('?');
  return (mark < 0 ? target : target.slice(0, mark)).replace(/\/+$/, '');
};

const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']);

const onCollection = (method: string, watched: boolean): string => {
  if (method === 'GET') return watched ? 'watch' : 'list';
  if (method === 'DELETE') return 'deletecollection';
  return method === 'POST' ? 'create' : 'other';
};

const onObject = (method: string): string => {
  switch (method) {
    case 'GET':
      return 'get';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return 'delete';
    default:
      return 'other';
  }
};

const resourceLabel = ({ kind, subresource }: ResourcePath): string => {
  const known = kind.subresources.some(({ name }) => name === subresource);
  return known ? `${resourceName(kind)}/${subresource ?? ''}` : resourceName(kind);
};

/** The path with its names left out, as OpenTelemetry's `http.route` has it; null: no resource. Whatever clients send, there are as many as kinds. */
export const routeOf = (target: string): string | null => {
  const asked = parseResourcePath(pathOf(target));
  if (asked === null) return null;
  const { kind, namespace, name, subresource } = asked;
  const known = kind.subresources.find((each) => each.name === subresource);
  if (subresource !== undefined && known === undefined) return null;
  const group = kind.group === '' ? `/api/${kind.version}` : `/apis/${kind.group}/${kind.version}`;
  const within = namespace === '' ? '' : '/namespaces/{namespace}';
  const below = `${name === undefined ? '' : '/{name}'}${known === undefined ? '' : `/${known.name}`}`;
  return `${group}${within}/${kind.plural}${below}`;
};

/** Whatever clients send, the labels are of a fixed set. `target` is the path with its query. */
export const requestLabels = (method: string, target: string): RequestLabels => {
  const mark = target.indexOf('?');
  const path = parseResourcePath(pathOf(target));
  if (path === null) return { verb: METHODS.has(method) ? method.toLowerCase() : 'other', resource: '' };
  if (path.name !== undefined) return { verb: onObject(method), resource: resourceLabel(path) };
  const watched = mark >= 0 && /[?&]watch=(true|1)\b/.test(target.slice(mark));
  return { verb: onCollection(method, watched), resource: resourceLabel(path) };
};
