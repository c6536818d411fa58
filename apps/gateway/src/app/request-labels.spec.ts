import { describe, expect, it } from 'vitest';
import { requestLabels, routeOf } from './request-labels.js';

const COMPUTE = '/apis/compute.xenolith.dev/v1alpha1';

describe('labels of a request', () => {
  it.each([
    ['GET', `${COMPUTE}/hosts`, 'list', 'hosts.compute.xenolith.dev'],
    ['GET', `${COMPUTE}/hosts?limit=5&watch=true`, 'watch', 'hosts.compute.xenolith.dev'],
    ['GET', `${COMPUTE}/hosts?watch=1`, 'watch', 'hosts.compute.xenolith.dev'],
    ['GET', `${COMPUTE}/hosts?watch=false`, 'list', 'hosts.compute.xenolith.dev'],
    ['DELETE', `${COMPUTE}/hosts`, 'deletecollection', 'hosts.compute.xenolith.dev'],
    ['POST', `${COMPUTE}/namespaces/a/virtualmachines`, 'create', 'virtualmachines.compute.xenolith.dev'],
    ['PATCH', `${COMPUTE}/namespaces/a/virtualmachines/b`, 'patch', 'virtualmachines.compute.xenolith.dev'],
    ['GET', `${COMPUTE}/namespaces/a/virtualmachines/b/status`, 'get', 'virtualmachines.compute.xenolith.dev/status'],
    ['GET', '/api/v1/namespaces/', 'list', 'namespaces'],
    ['GET', '/version', 'get', ''],
  ])('%s %s is %s of %s', (method, target, verb, resource) => {
    expect(requestLabels(method, target)).toEqual({ verb, resource });
  });

  it('are of a fixed set, whatever clients send', () => {
    expect(requestLabels('BREW', '/coffee')).toEqual({ verb: 'other', resource: '' });
    expect(requestLabels('BREW', `${COMPUTE}/hosts/a`)).toEqual({
      verb: 'other',
      resource: 'hosts.compute.xenolith.dev',
    });
    expect(requestLabels('GET', `${COMPUTE}/hosts/a/unheard-of`)).toEqual({
      verb: 'get',
      resource: 'hosts.compute.xenolith.dev',
    });
    expect(requestLabels('GET', `${COMPUTE}/unheard-of/%00`)).toEqual({ verb: 'get', resource: '' });
  });
});

describe('route of a request', () => {
  it.each([
    [`${COMPUTE}/hosts?limit=5`, `${COMPUTE}/hosts`],
    [`${COMPUTE}/virtualmachines`, `${COMPUTE}/virtualmachines`],
    [`${COMPUTE}/namespaces/a/virtualmachines`, `${COMPUTE}/namespaces/{namespace}/virtualmachines`],
    [`${COMPUTE}/namespaces/a/virtualmachines/b`, `${COMPUTE}/namespaces/{namespace}/virtualmachines/{name}`],
    [
      `${COMPUTE}/namespaces/a/virtualmachines/b/status`,
      `${COMPUTE}/namespaces/{namespace}/virtualmachines/{name}/status`,
    ],
    ['/api/v1/namespaces/a/', '/api/v1/namespaces/{name}'],
  ])('%s has no names in it: %s', (target, route) => {
    expect(routeOf(target)).toBe(route);
  });

  it('is none for what is no resource, whatever clients send', () => {
    for (const target of ['/version', '/coffee', `${COMPUTE}/hosts/a/unheard-of`, `${COMPUTE}/unheard-of/%00`])
      expect(routeOf(target)).toBeNull();
  });
});
