import type { HostTool, KindDefinition, TableColumn } from '@xenolith/contracts';
import type { JsonObject } from '@xenolith/kernel';

export type Verb = 'create' | 'delete' | 'deletecollection' | 'get' | 'list' | 'patch' | 'update' | 'watch';

/** A path below an object: `status`, or an action that makes an Operation. Group, version and kind are those of the answer. */
export interface Subresource {
  readonly name: string;
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly verbs: readonly Verb[];
  /** Set when a POST makes an Operation with this action. */
  readonly action?: string;
  /** Set when a GET runs this tool on the host. */
  readonly tool?: HostTool;
}

/** A column of `Table` answers; `cell` computes what no path can say. */
export interface ServedColumn extends TableColumn {
  /** Kubernetes' `name` format marks the column that holds the object's name. */
  readonly format?: string;
  readonly cell?: (object: JsonObject, now: number) => string | number | null;
}

type Names =
  'group' | 'version' | 'kind' | 'plural' | 'singular' | 'shortNames' | 'categories' | 'namespaced' | 'description';

/** A kind as the API shows it. `definition` is null for views of the log (events), which nobody writes. */
export interface ServedKind extends Pick<KindDefinition, Names> {
  readonly verbs: readonly Verb[];
  readonly subresources: readonly Subresource[];
  readonly columns: readonly ServedColumn[];
  /** Field labels that selectors may name, metadata's included. */
  readonly fieldSelectors: readonly string[];
  /** Where a field label's value lies, when not at the path of its own name. */
  readonly fieldPaths?: Readonly<Record<string, string>>;
  readonly definition: KindDefinition | null;
}

/** What a POST to an action subresource answers. */
export const OPERATION_REFERENCE = { group: 'compute.xenolith.dev', version: 'v1alpha1', kind: 'Operation' } as const;
