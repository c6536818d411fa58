import { readKubectl } from './kubectl.js';

/** Which cluster and namespace a call of the plugin means. */
export interface ClusterOptions {
  readonly namespace?: string | undefined;
  readonly context?: string | undefined;
  readonly kubeconfig?: string | undefined;
}

/** Flags that every call of kubectl gets, so that it means the same cluster. */
export const clusterFlags = ({ context, kubeconfig }: ClusterOptions): readonly string[] => [
  ...(context === undefined ? [] : [`--context=${context}`]),
  ...(kubeconfig === undefined ? [] : [`--kubeconfig=${kubeconfig}`]),
];

/** The namespace that was asked for, or the context's own. */
export const namespaceOf = async (options: ClusterOptions): Promise<string> => {
  if (options.namespace !== undefined) return options.namespace;
  const named = await readKubectl([
    ...clusterFlags(options),
    'config',
    'view',
    '--minify',
    '--output=jsonpath={..namespace}',
  ]);
  return named.trim() || 'default';
};

/** What the API answers to a GET. Its refusal has been shown already when this throws. */
export const readRaw = (options: ClusterOptions, target: string): Promise<string> =>
  readKubectl([...clusterFlags(options), 'get', '--raw', target]);
