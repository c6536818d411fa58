import { resolve } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { CHART, helm } from './helm.js';

/** The folder that `kubectl apply -k` takes. */
export const PLAIN = resolve(CHART, '../../kustomize');
export const PLATFORM = resolve(PLAIN, 'platform.yaml');

const HEAD = `# Rendered from deploy/helm/xenolith by \`npm run render:kustomize\`; change that, not this. Secrets are left out: kustomization.yaml makes them.\n`;

/** The chart with its own values as plain manifests, without secrets, which must not be in a repository. */
export const renderPlain = async (): Promise<string> => {
  const text = await helm('template', 'xenolith', CHART, '--namespace', 'xenolith', '--skip-tests');
  const kept = parseAllDocuments(text).filter((document) => {
    if (document.errors.length > 0) throw new Error(document.errors.map(({ message }) => message).join('; '));
    const object = document.toJS() as { readonly kind: string; readonly metadata: { namespace?: string } } | null;
    if (object === null || object.kind === 'Secret') return false;
    document.setIn(['metadata', 'namespace'], 'xenolith');
    // Nobody upgrades these by Helm.
    document.deleteIn(['metadata', 'labels', 'app.kubernetes.io/managed-by']);
    document.deleteIn(['metadata', 'labels', 'helm.sh/chart']);
    return true;
  });
  return HEAD + kept.map((document) => `---\n${document.toString({ directives: false })}`).join('');
};
