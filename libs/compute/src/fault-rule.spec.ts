import { faultRuleSpec } from '@xenolith/contracts';
import { given } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { faultRuleAggregate } from './fault-rule.js';
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
    expect(shown({ effect: { delay: 1 } })).toMatchObject({ strikes: '*' });
    const match = { commands: ['StartDomain', 'RebootDomain'] };
    expect(shown({ match, effect: { delay: 1 } })).toMatchObject({ strikes: 'StartDomain,RebootDomain' });
  });

  it('is refused when what it matches has no part in its effect', () => {
    const devices = { dropWatches: 'all' };
    expect(causesOf({ match: { commands: ['StartDomain'] }, effect: { devices } })).toEqual(['spec.match.commands']);
    expect(causesOf({ match: { devices: ['root'] }, effect: { delay: 1 } })).toEqual(['spec.match']);
  });
});
