import type { LabelSelector, SelectorRequirement, Taint, Toleration } from '@xenolith/contracts';

export type Labels = Readonly<Record<string, string>>;

/** Whether a label, which may be absent, meets a requirement; as Kubernetes does, NotIn holds of an absent label. */
export const meets = (labels: Labels, { key, operator, values = [] }: SelectorRequirement): boolean => {
  const value = labels[key];
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
  }
};

export const meetsAll = (labels: Labels, requirements: readonly SelectorRequirement[]): boolean =>
  requirements.every((requirement) => meets(labels, requirement));

/** An empty selector selects everything. */
export const selects = (selector: LabelSelector, labels: Labels): boolean => {
  for (const key in selector.matchLabels) if (labels[key] !== selector.matchLabels[key]) return false;
  return selector.matchExpressions === undefined || meetsAll(labels, selector.matchExpressions);
};

const tolerates = (toleration: Toleration, taint: Taint): boolean => {
  if (toleration.effect !== undefined && toleration.effect !== taint.effect) return false;
  if (toleration.key === undefined) return toleration.operator === 'Exists';
  if (toleration.key !== taint.key) return false;
  return toleration.operator === 'Exists' || toleration.value === taint.value;
};

/** The taints of an effect that none of the tolerations covers. */
export const untolerated = (
  taints: readonly Taint[],
  tolerations: readonly Toleration[],
  effect: Taint['effect'],
): readonly Taint[] =>
  taints.filter((taint) => taint.effect === effect && !tolerations.some((toleration) => tolerates(toleration, taint)));

/** `app in (web,db)`, as `kubectl` writes selectors. */
export const requirementText = ({ key, operator, values = [] }: SelectorRequirement): string => {
  switch (operator) {
    case 'In':
      return values.length === 1 ? `${key}=${values[0] ?? ''}` : `${key} in (${values.join(',')})`;
    case 'NotIn':
      return values.length === 1 ? `${key}!=${values[0] ?? ''}` : `${key} notin (${values.join(',')})`;
    case 'Exists':
      return key;
    case 'DoesNotExist':
      return `!${key}`;
  }
};

export const selectorText = ({ matchLabels = {}, matchExpressions = [] }: LabelSelector): string =>
  [
    ...Object.entries(matchLabels).map(([key, value]) => `${key}=${value}`),
    ...matchExpressions.map(requirementText),
  ].join(',');
