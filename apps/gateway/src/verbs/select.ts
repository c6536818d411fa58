import type { Selection } from '../cache/selection.js';
import type { ServedKind } from '../discovery/index.js';
import { parseFieldSelector, parseLabelSelector } from '../table/index.js';
import { accepted } from './representation.js';

/** The selection of a list, watch or deletion of many: namespace, label selector, field selector. Throws a StatusError (400). */
export const readSelection = (kind: ServedKind, namespace: string, query: URLSearchParams): Selection => {
  const labels = query.get('labelSelector') ?? '';
  const fields = query.get('fieldSelector') ?? '';
  const byLabels = accepted(parseLabelSelector(labels));
  const byFields = accepted(parseFieldSelector(kind, fields));
  const id = JSON.stringify([namespace, labels, fields]);
  if (labels.trim() === '' && fields.trim() === '') return { namespace, id };
  return {
    namespace,
    id,
    ...(byFields.name === undefined ? {} : { name: byFields.name }),
    matches: (object) => byFields.matches(object.index) && byLabels(object.index),
  };
};
