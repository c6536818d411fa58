import { KINDS } from '@xenolith/contracts';
import { present, type JsonObject } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import { discoveryAnswer, findServedKind, versionPage } from './index.js';

const AGGREGATED =
  'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json';

const page = (path: string, accept?: string): JsonObject =>
  JSON.parse(present(discoveryAnswer(path, accept), `${path} is served`).body) as JsonObject;

const resources = (path: string): JsonObject[] => page(path)['resources'] as JsonObject[];

describe('discovery', () => {
  it('lists the groups and their versions', () => {
    expect(page('/api')).toMatchObject({ kind: 'APIVersions', versions: ['v1'] });
    const groups = page('/apis')['groups'] as JsonObject[];
    expect(groups.map((group) => group['name'])).toEqual([
      'compute.xenolith.dev',
      'storage.xenolith.dev',
      'network.xenolith.dev',
      'scheduling.xenolith.dev',
      'chaos.xenolith.dev',
      'rbac.authorization.k8s.io',
      'events.k8s.io',
      'authentication.k8s.io',
      'authorization.k8s.io',
    ]);
    expect(page('/apis/compute.xenolith.dev')).toMatchObject({
      kind: 'APIGroup',
      preferredVersion: { groupVersion: 'compute.xenolith.dev/v1alpha1', version: 'v1alpha1' },
    });
  });

  it('lists kinds with verbs, short names, categories and subresources', () => {
    const compute = resources('/apis/compute.xenolith.dev/v1alpha1');
    expect(compute.find(({ name }) => name === 'virtualmachines')).toEqual({
      name: 'virtualmachines',
      singularName: 'virtualmachine',
      namespaced: true,
      kind: 'VirtualMachine',
      verbs: ['create', 'delete', 'deletecollection', 'get', 'list', 'watch', 'patch', 'update'],
      shortNames: ['vm', 'vms'],
      categories: ['xen', 'all'],
    });
    expect(compute.find(({ name }) => name === 'virtualmachines/reboot')).toMatchObject({
      kind: 'Operation',
      verbs: ['create'],
    });
    expect(compute.find(({ name }) => name === 'virtualmachines/status')).toMatchObject({
      kind: 'VirtualMachine',
      verbs: ['get'],
    });
    expect(compute.find(({ name }) => name === 'hosts')?.['verbs']).not.toContain('create');
  });

  it('offers no verb that a kind refuses', () => {
    const placements = resources('/apis/scheduling.xenolith.dev/v1alpha1').find(({ name }) => name === 'placements');
    expect(placements?.['verbs']).toEqual(['get', 'list', 'watch']);
    for (const path of ['/api/v1', '/apis/events.k8s.io/v1'])
      expect(resources(path).find(({ name }) => name === 'events')?.['verbs']).toEqual(['get', 'list', 'watch']);
  });

  it('serves every kind of the contracts', () => {
    for (const kind of KINDS) expect(findServedKind(kind.group, kind.version, kind.plural)?.definition).toBe(kind);
  });

  it('aggregates when asked to, and says so in its type', () => {
    const answer = present(discoveryAnswer('/apis', AGGREGATED), 'aggregated discovery is served');
    expect(answer.contentType).toBe('application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList');
    expect(answer.etag).toMatch(/^"[0-9A-F]{64}"$/);
    const items = page('/api', AGGREGATED)['items'] as JsonObject[];
    expect(items).toHaveLength(1);
    expect(JSON.stringify(items)).toContain('"resource":"namespaces"');
    expect(page('/apis', 'application/json')['kind']).toBe('APIGroupList');
  });

  it('knows no other pages', () => {
    expect(discoveryAnswer('/apis/apps', undefined)).toBeNull();
    expect(discoveryAnswer('/apis/apps/v1', undefined)).toBeNull();
    expect(discoveryAnswer('/api/v2', undefined)).toBeNull();
  });

  it('has a version', () => {
    const version = versionPage({ version: '0.1.0', runtime: 'node/v24', platform: 'linux/x64' });
    expect(version).toMatchObject({ major: '1', gitVersion: 'v1.35.0+xenolith-0.1.0' });
  });
});
