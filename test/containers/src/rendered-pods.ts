import { resolve } from 'node:path';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { parseAllDocuments } from 'yaml';

const ROOT = resolve(import.meta.dirname, '../../..');
const CHART = resolve(ROOT, 'deploy/helm/xenolith');

interface KeyRef {
  readonly name: string;
  readonly key: string;
}
export interface Variable {
  readonly name: string;
  readonly value?: string;
  readonly valueFrom?: { readonly secretKeyRef?: KeyRef; readonly fieldRef?: { readonly fieldPath: string } };
}
export interface Probe {
  readonly httpGet?: { readonly path: string; readonly port: string | number };
  readonly exec?: { readonly command: readonly string[] };
  readonly periodSeconds?: number;
  readonly failureThreshold?: number;
}
export interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly Variable[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly resources?: { readonly limits?: { readonly memory?: string } };
  readonly securityContext?: {
    readonly readOnlyRootFilesystem?: boolean;
    readonly allowPrivilegeEscalation?: boolean;
    readonly capabilities?: { readonly drop?: readonly string[] };
  };
  readonly volumeMounts?: readonly {
    readonly name: string;
    readonly mountPath: string;
    readonly readOnly?: boolean;
    /** One file of the volume; in an expression, `$(NAME)` is a variable of the container. */
    readonly subPath?: string;
    readonly subPathExpr?: string;
  }[];
}
interface Items {
  readonly defaultMode?: number;
  readonly items?: readonly { readonly key: string; readonly path: string }[];
}
export interface Volume {
  readonly name: string;
  readonly secret?: Items & { readonly secretName: string };
  readonly configMap?: Items & { readonly name: string };
  readonly emptyDir?: { readonly medium?: string };
  /** Of a StatefulSet's template. */
  readonly claim?: true;
}
interface PodSpec {
  readonly initContainers?: readonly Container[];
  readonly containers: readonly Container[];
  readonly volumes?: readonly Volume[];
  readonly securityContext: { readonly runAsUser: number; readonly runAsGroup: number; readonly fsGroup: number };
}
/** A Pod as its controller would make it. */
export interface Pod {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Those that run to their end before it. */
  readonly before: readonly Container[];
  readonly container: Container;
  readonly volumes: readonly Volume[];
  readonly security: PodSpec['securityContext'];
  /** Of a StatefulSet: names its Pods by their own. */
  readonly governing?: string;
}
export interface Service {
  readonly name: string;
  readonly selector: Readonly<Record<string, string>>;
  readonly ports: readonly { readonly port: number; readonly targetPort: string | number }[];
}
export interface RenderedRelease {
  /** Those that run on. */
  readonly pods: readonly Pod[];
  /** Those that run to their end, by the first part of their names. */
  readonly jobs: Readonly<Record<'migrate' | 'starter' | 'test', Pod>>;
  readonly services: readonly Service[];
  /** Texts of ConfigMaps and Secrets, by kind and name. */
  readonly data: ReadonlyMap<string, Readonly<Record<string, string>>>;
}

interface Rendered {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly labels?: Readonly<Record<string, string>> };
  readonly data?: Readonly<Record<string, string>>;
  readonly stringData?: Readonly<Record<string, string>>;
  readonly spec: unknown;
}
interface WorkloadSpec {
  readonly replicas?: number;
  readonly serviceName?: string;
  readonly template: {
    readonly metadata: { readonly labels: Readonly<Record<string, string>> };
    readonly spec: PodSpec;
  };
  readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[];
}

const podOf = (name: string, labels: Pod['labels'], spec: PodSpec, more: Partial<Pod> = {}): Pod => {
  const [container, ...others] = spec.containers;
  if (container === undefined || others.length > 0) throw new Error(`${name} has ${spec.containers.length} containers`);
  return {
    name,
    labels,
    before: spec.initContainers ?? [],
    container,
    volumes: spec.volumes ?? [],
    security: spec.securityContext,
    ...more,
  };
};

const podsOf = ({ kind, metadata, spec }: Rendered): readonly Pod[] => {
  const { replicas = 1, template, serviceName, volumeClaimTemplates = [] } = spec as WorkloadSpec;
  const { labels } = template.metadata;
  const claims = volumeClaimTemplates.map((claim): Volume => ({ name: claim.metadata.name, claim: true }));
  return Array.from({ length: replicas }, (_, number) => {
    const pod = podOf(`${metadata.name}-${number}`, labels, template.spec);
    if (kind !== 'StatefulSet' || serviceName === undefined) return pod;
    return { ...pod, volumes: [...pod.volumes, ...claims], governing: serviceName };
  });
};

const textsOf = ({ kind, data = {}, stringData = {} }: Rendered): Readonly<Record<string, string>> => {
  const plain = (value: string): string => (kind === 'Secret' ? Buffer.from(value, 'base64').toString('utf8') : value);
  return { ...Object.fromEntries(Object.entries(data).map(([key, value]) => [key, plain(value)])), ...stringData };
};

/** What Helm renders of the chart with these values, taken apart. */
export const renderPods = async (...values: readonly string[]): Promise<RenderedRelease> => {
  const set = values.flatMap((value) => ['--set', value]);
  const { stdout } = await promisify(execFile)(
    resolve(ROOT, 'xenolith'),
    ['helm', 'template', 'x', CHART, '--namespace', 'virtual', ...set],
    { maxBuffer: 64 * 2 ** 20 },
  );
  const objects = parseAllDocuments(stdout)
    .map((document) => document.toJS() as Rendered | null)
    .filter((object) => object !== null);
  const named = (part: string): Pod => {
    const found = objects.find(({ kind, metadata }) => /^(Job|Pod)$/.test(kind) && metadata.name.includes(`-${part}`));
    if (found === undefined) throw new Error(`the chart renders no ${part}`);
    if (found.kind === 'Pod') return podOf(found.metadata.name, found.metadata.labels ?? {}, found.spec as PodSpec);
    const { template } = found.spec as WorkloadSpec;
    return podOf(found.metadata.name, template.metadata.labels, template.spec);
  };
  return {
    pods: objects.filter(({ kind }) => /^(Deployment|StatefulSet|DaemonSet)$/.test(kind)).flatMap(podsOf),
    jobs: { migrate: named('migrate'), starter: named('starter'), test: named('test') },
    services: objects
      .filter(({ kind }) => kind === 'Service')
      .map(({ metadata, spec }) => ({ ...(spec as Omit<Service, 'name'>), name: metadata.name })),
    data: new Map(
      objects
        .filter(({ kind }) => kind === 'ConfigMap' || kind === 'Secret')
        .map((object) => [`${object.kind}/${object.metadata.name}`, textsOf(object)]),
    ),
  };
};
