import { type Rendered } from './helm.js';

export const named = (objects: readonly Rendered[], kind: string, name: string): Rendered => {
  const found = objects.find((object) => object.kind === kind && object.metadata.name === `x-xenolith${name}`);
  if (!found) throw new Error(`no ${kind} x-xenolith${name} is rendered`);
  return found;
};

export interface Container {
  readonly image: string;
  readonly env?: readonly { readonly name: string; readonly value?: string; readonly valueFrom?: unknown }[];
  readonly resources?: unknown;
  readonly securityContext?: unknown;
  readonly volumeMounts?: readonly { readonly name: string }[];
}
export interface PodSpec {
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes?: readonly { readonly name: string }[];
  readonly securityContext?: unknown;
  readonly automountServiceAccountToken?: boolean;
}
export interface Workload {
  readonly replicas?: number;
  readonly template: { readonly spec: PodSpec };
  readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[];
}

export const workload = (objects: readonly Rendered[], kind: string, name: string): Workload =>
  named(objects, kind, name)['spec'] as Workload;
export const containerOf = ({ template }: Workload): Container => template.spec.containers[0] as Container;
export const variables = (of: Workload): Readonly<Record<string, string | undefined>> =>
  Object.fromEntries((containerOf(of).env ?? []).map(({ name, value }) => [name, value]));
export const podsOf = (
  objects: readonly Rendered[],
): readonly { readonly name: string; readonly spec: PodSpec; readonly claims: readonly string[] }[] =>
  objects.flatMap((object) => {
    const name = object.metadata.name;
    if (object.kind === 'Pod') return [{ name, spec: object['spec'] as PodSpec, claims: [] }];
    if (!['Deployment', 'StatefulSet', 'Job'].includes(object.kind)) return [];
    const { template, volumeClaimTemplates = [] } = object['spec'] as Workload;
    return [{ name, spec: template.spec, claims: volumeClaimTemplates.map(({ metadata }) => metadata.name) }];
  });
