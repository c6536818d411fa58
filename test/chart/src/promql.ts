import { parser } from '@prometheus-io/lezer-promql';
import type { SyntaxNode } from '@lezer/common';

/** A metric that an expression asks for, and the labels that it selects by. */
export interface Selected {
  readonly metric: string;
  readonly labels: readonly string[];
}

/** Labels that an aggregation groups by, and the metrics below it. */
export interface Grouped {
  readonly labels: readonly string[];
  readonly metrics: readonly string[];
}

export interface Expression {
  readonly selected: readonly Selected[];
  readonly grouped: readonly Grouped[];
}

const below = (node: SyntaxNode, name: string): readonly SyntaxNode[] => {
  const found: SyntaxNode[] = [];
  node.cursor().iterate((each) => {
    if (each.name === name) found.push(each.node);
  });
  return found;
};

/** What a PromQL expression names, by Prometheus' own grammar. Throws when it is none. */
export const readPromql = (text: string): Expression => {
  const tree = parser.parse(text);
  tree.iterate({
    enter: (node) => {
      if (node.type.isError) throw new Error(`not PromQL at character ${node.from}: ${text}`);
    },
  });
  const of = (node: SyntaxNode): string => text.slice(node.from, node.to);
  const metricsBelow = (node: SyntaxNode): readonly string[] =>
    below(node, 'VectorSelector').flatMap((selector) => below(selector, 'Identifier').slice(0, 1).map(of));
  const top = tree.topNode;
  return {
    selected: below(top, 'VectorSelector').map((selector) => ({
      metric: below(selector, 'Identifier').map(of)[0] ?? '',
      labels: below(selector, 'LabelName').map(of),
    })),
    grouped: below(top, 'AggregateExpr').map((aggregate) => ({
      labels: below(aggregate, 'GroupingLabels')
        .slice(0, 1)
        .flatMap((labels) => below(labels, 'LabelName').map(of)),
      metrics: metricsBelow(aggregate),
    })),
  };
};
