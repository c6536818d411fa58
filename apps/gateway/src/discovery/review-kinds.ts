import type { ServedKind } from './served-kind.js';

const review = (group: string, kind: string, description: string, namespaced = false): ServedKind => ({
  group,
  version: 'v1',
  kind,
  plural: `${kind.toLowerCase()}s`,
  singular: kind.toLowerCase(),
  shortNames: [],
  categories: [],
  namespaced,
  description,
  verbs: ['create'],
  subresources: [],
  columns: [],
  fieldSelectors: [],
  definition: null,
});

/** Questions about identity and rights: each is asked by creating it, and kept nowhere. */
export const REVIEW_KINDS: readonly ServedKind[] = [
  review('authentication.k8s.io', 'SelfSubjectReview', 'Asks who the sender is.'),
  review('authentication.k8s.io', 'TokenReview', 'Asks whose a bearer token is.'),
  review('authorization.k8s.io', 'SelfSubjectAccessReview', 'Asks whether the sender may do something.'),
  review('authorization.k8s.io', 'SelfSubjectRulesReview', 'Asks what the sender may do in a namespace.'),
  review('authorization.k8s.io', 'SubjectAccessReview', 'Asks whether somebody may do something.'),
  review('authorization.k8s.io', 'LocalSubjectAccessReview', 'The same, within one namespace.', true),
];
