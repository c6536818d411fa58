import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestPlatform, type GatewayUnderTest, type TestPlatform } from '../fixture/test-platform.js';

let platform: TestPlatform;
let api: GatewayUnderTest;

beforeAll(async () => {
  platform = await startTestPlatform();
  [api] = platform.gateways as [GatewayUnderTest];
});

afterAll(async () => {
  await platform.close();
});

const kubectl = async (args: string, input?: string): Promise<string> => {
  const result = await api.kubectl(args.split(' '), input);
  expect(result.code, `kubectl ${args}: ${result.stdout}${result.stderr}`).toBe(0);
  return result.stdout + result.stderr;
};

const refused = async (args: string, input?: string): Promise<string> => {
  const result = await api.kubectl(args.split(' '), input);
  expect(result.code, `kubectl ${args}: ${result.stdout}`).not.toBe(0);
  return result.stderr;
};

const network = (name: string, cidr: string): string =>
  `apiVersion: network.xenolith.dev/v1alpha1
kind: Network
metadata:
  name: ${name}
  labels: { tier: web }
spec:
  cidr: ${cidr}
`;

describe('kubectl', () => {
  it('applies, changes by applying again, and deletes what a file says', async () => {
    expect(await kubectl('apply -f -', network('web', '10.1.0.0/24'))).toContain('web created');
    expect(await kubectl('apply -f -', network('web', '10.1.0.0/24'))).toContain('web unchanged');
    expect(await kubectl('apply -f -', network('web', '10.2.0.0/24'))).toContain('web configured');
    expect(await kubectl('get net web -o jsonpath={.spec.cidr}')).toBe('10.2.0.0/24');
    expect(await kubectl('diff -f -', network('web', '10.2.0.0/24'))).toBe('');
    expect(await kubectl('delete -f -', network('web', '10.2.0.0/24'))).toContain('deleted');
    expect(await refused('get net web')).toContain('Error from server (NotFound)');
  });

  it('applies from the server side, and tells of a conflict', async () => {
    expect(await kubectl('apply --server-side -f -', network('ssa', '10.1.0.0/24'))).toContain('serverside-applied');
    expect(await refused('apply --server-side --field-manager=other -f -', network('ssa', '10.2.0.0/24'))).toContain(
      'conflict with "kubectl"',
    );
    expect(
      await kubectl('apply --server-side --field-manager=other --force-conflicts -f -', network('ssa', '10.2.0.0/24')),
    ).toContain('serverside-applied');
  });

  it('prints tables, with wide columns, labels, and over all kinds of a category', async () => {
    await kubectl('apply -f -', network('table', '10.3.0.0/24'));
    expect(await kubectl('get net table')).toMatch(/NAME\s+CIDR\s+GATEWAY\s+VLAN\s+AGE\ntable\s+10\.3\.0\.0\/24/);
    expect(await kubectl('get networks -A -o wide --show-labels')).toMatch(/BRIDGE\s+LABELS/);
    expect(await kubectl('get xen')).toContain('network.network.xenolith.dev/table');
    expect(await kubectl('get net -l tier=web -o name')).toContain('network.network.xenolith.dev/table');
  });

  it('describes an object with its events, and lists events', async () => {
    await kubectl('apply -f -', network('described', '10.4.0.0/24'));
    expect(await kubectl('describe net described')).toMatch(/Events:[\s\S]*Normal\s+Created\s+.*xenolith-network/);
    expect(await kubectl('get events')).toContain('network/described');
    expect(await kubectl('events --for network/described')).toContain('It was created');
    expect(await kubectl('get events.events.k8s.io')).toContain('network/described');
  });

  it('creates namespaces, waits, labels, annotates, patches and edits in place', async () => {
    expect(await kubectl('create namespace team')).toContain('namespace/team created');
    expect(await refused('create namespace team')).toContain('namespaces "team" already exists');
    await kubectl('wait ns/team --for=jsonpath={.status.phase}=Active --timeout=10s');
    expect(await kubectl('label ns team owner=ada')).toContain('labeled');
    expect(await kubectl('annotate ns team note=x')).toContain('annotated');
    expect(await kubectl('patch ns team -p {"metadata":{"labels":{"more":"yes"}}}')).toContain('patched');
    expect(await kubectl('get ns team --show-labels')).toContain('more=yes,owner=ada');
    expect(await kubectl('delete ns team')).toContain('deleted');
  });

  it('watches, pages through lists, and waits for an end', async () => {
    for (const name of ['p1', 'p2', 'p3']) await kubectl('apply -f -', network(name, '10.7.0.0/24'));
    expect(await kubectl('get net --chunk-size=2 -o name')).toContain('network.network.xenolith.dev/p3');
    const watching = kubectl('get net p1 -w --output-watch-events --request-timeout=5s');
    const waiting = kubectl('wait net/p1 --for=delete --timeout=20s');
    await expect.poll(() => api.gateway.watches().size, { timeout: 10_000 }).toBe(2);
    await kubectl('delete net p1');
    expect(await waiting).toContain('condition met');
    expect(await watching).toMatch(/ADDED\s+p1[\s\S]*DELETED\s+p1/);
  });

  it('shows where the control plane is, and that there are no services of Kubernetes’', async () => {
    expect(await kubectl('cluster-info')).toContain('Kubernetes control plane');
    expect(await kubectl('get services -A')).toContain('No resources found');
  });

  it('refuses what is wrong in the server’s words', async () => {
    expect(await refused('apply -f -', network('wrong', 'nothing'))).toContain('spec.cidr');
    expect(await refused('get net none')).toContain('networks.network.xenolith.dev "none" not found');
    expect(await refused('create -f - -n nowhere', network('lost', '10.0.0.0/24'))).toContain(
      'namespaces "nowhere" not found',
    );
  });

  it('creates dry, replaces, and scales through raw paths', async () => {
    expect(await kubectl('create --dry-run=server -f -', network('dry', '10.0.0.0/24'))).toContain('(server dry run)');
    await kubectl('create -f -', network('replaced', '10.5.0.0/24'));
    await kubectl('replace -f -', network('replaced', '10.6.0.0/24'));
    expect(await kubectl('get --raw /readyz')).toBe('ok');
    expect(await kubectl('auth can-i create vms')).toContain('yes');
    expect(await kubectl('auth can-i --list')).toContain('*.*');
    expect(await kubectl('auth whoami')).toContain('ada');
    expect(await kubectl('api-resources --api-group=compute.xenolith.dev')).toContain('virtualmachines');
    expect(await kubectl('version')).toContain('Server Version: v1.35');
  });
});
