import { faultRuleSpec } from '@xenolith/contracts';
import type { StoredDocument } from '@xenolith/kernel';
import { given } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { prepareFaultRule } from './fault-rule.hosts.js';
import { faultRuleAggregate } from './fault-rule.js';
import { HostIndex } from './host.index.js';
import { metadata } from './platform.spec-fixture.js';

const create = (spec: object) =>
  given(faultRuleAggregate).when({
    type: 'ChangeFaultRule',
    data: {
      intent: 'create',
      metadata: { ...metadata('rule'), namespace: undefined },
      spec: faultRuleSpec.parse(spec),
    },
  });

const causesOf = (spec: object): unknown =>
  create(spec)
    .thenRejected('object_invalid')
    .causes?.map(({ field }) => field);

const shown = (spec: object): unknown => faultRuleAggregate.toResource(create(spec).state)?.['status'];

describe('a fault rule', () => {
  it('strikes commands, or devices of some machines', () => {
    create({ effect: { delay: 1 } }).then([{ type: 'FaultRuleCreated' }]);
    const match = { hosts: ['host-*'], virtualMachines: ['shop/web-?'], devices: ['eth0'] };
    create({ match, effect: { devices: { failHotplug: 'no such bridge' } }, count: 1 }).then([
      { type: 'FaultRuleCreated' },
    ]);
  });

  it.each([
    ['says nothing', {}, ['spec.effect']],
    ['kills a daemon and delays', { delay: 1, killDaemon: 'xenstored' }, ['spec.effect.killDaemon']],
    ['says nothing of devices', { devices: {} }, ['spec.effect.devices']],
    ['strikes both', { delay: 1, devices: { stallHotplug: true } }, ['spec.effect.devices']],
    [
      'lets a script hang and fail',
      { devices: { stallHotplug: true, failHotplug: 'no' } },
      ['spec.effect.devices.failHotplug'],
    ],
  ])('is refused when it %s', (_what, effect, fields) => {
    expect(causesOf({ effect })).toEqual(fields);
  });

  it('said that it strikes all commands where it strikes devices', () => {
    expect(shown({ effect: { devices: { stallHotplug: true } } })).toMatchObject({ strikes: 'stallHotplug' });
    expect(shown({ effect: { killDaemon: 'xend' } })).toMatchObject({ strikes: 'killDaemon xend' });
    expect(shown({ effect: { delay: 1 } })).toMatchObject({ strikes: '*' });
    const match = { commands: ['StartDomain', 'RebootDomain'] };
    expect(shown({ match, effect: { delay: 1 } })).toMatchObject({ strikes: 'StartDomain,RebootDomain' });
  });

  it('is refused when what it matches has no part in its effect', () => {
    const devices = { dropWatches: 'all' };
    expect(causesOf({ match: { commands: ['StartDomain'] }, effect: { devices } })).toEqual(['spec.match.commands']);
    expect(causesOf({ match: { devices: ['root'] }, effect: { delay: 1 } })).toEqual(['spec.match']);
    expect(causesOf({ match: { devices: ['root'] }, effect: { killDaemon: 'xend' } })).toEqual(['spec.match']);
  });
});

describe('a fault rule for hosts that are known', () => {
  const hosts = new HostIndex();
  const host = (name: string, status: object): StoredDocument => ({
    streamId: name,
    version: 1,
    position: 1,
    category: 'host',
    document: { metadata: { name }, spec: { cluster: 'default' }, status: { conditions: [], ...status } },
  });
  hosts.load([
    host('kvm-0001', { hypervisor: 'kvm' }),
    host('legacy-0001', { hypervisor: 'xen', setup: { release: 'xen-4.0' } }),
    host('split-0001', { hypervisor: 'xen', setup: { release: 'xen-4.20', driverDomains: ['network'] } }),
  ]);
  const why = (effect: object, named: readonly string[]): unknown => {
    const spec = faultRuleSpec.parse({ match: { hosts: named }, effect });
    const prepared = prepareFaultRule({ intent: 'create', metadata: metadata('rule'), spec }, hosts);
    return prepared.ok ? 'taken' : prepared.rejection.causes?.map(({ field, message }) => `${field}: ${message}`);
  };

  it('is refused where none of them can have what it does', () => {
    expect(why({ devices: { crashDriverDomain: true } }, ['kvm-*'])).toEqual([
      'spec.effect.devices.crashDriverDomain: strikes no host: kvm-0001 does not have driver domains',
    ]);
    expect(why({ killDaemon: 'xenstored' }, ['kvm-0001'])).not.toBe('taken');
    expect(why({ killDaemon: 'xend' }, ['split-*', 'kvm-*'])).toEqual([
      'spec.effect.killDaemon: strikes no host: the 2 hosts that it names do not run a release of Xen with xend',
    ]);
    expect(why({ killDaemon: 'libvirtd' }, ['split-*'])).not.toBe('taken');
    expect(why({ devices: { dropWatches: 'all' } }, ['kvm-*'])).not.toBe('taken');
  });

  it('is taken where one of them can, and where none is known', () => {
    expect(why({ devices: { crashDriverDomain: true } }, [])).toBe('taken');
    expect(why({ killDaemon: 'xend' }, ['*'])).toBe('taken');
    expect(why({ killDaemon: 'libvirtd' }, ['kvm-*'])).toBe('taken');
    expect(why({ killDaemon: 'xenstored' }, ['host-*'])).toBe('taken');
  });
});
