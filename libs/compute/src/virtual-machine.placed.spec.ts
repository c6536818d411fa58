import { expect, it } from 'vitest';
import { act, begun, created, machine, started } from './machine.spec-fixture.js';
import { domainConfig } from './virtual-machine.plan-steps.js';

const configOf = (spec: object): object => {
  const { state } = machine([created(spec), begun('provision', { incarnation: 1 }), started(1)]).when(act('start'));
  if (state.phase !== 'present') throw new Error('the machine is there');
  return domainConfig(state);
};

it('has its memory on the node that was reserved for all of it, whatever CPUs it is pinned to', () => {
  const place = (path: string) => ({ $from: 'place', path });
  expect(configOf({ placement: { numa: 'single-numa-node' } })).toMatchObject({
    memoryNode: place('numaNode'),
    pin: place('pin'),
  });
  expect(configOf({ placement: { numa: 'single-numa-node' }, cpu: { pin: '0-1' } })).toMatchObject({
    memoryNode: place('numaNode'),
    pin: '0-1',
  });
  for (const numa of ['none', 'best-effort'])
    expect(configOf({ placement: { numa } })).not.toHaveProperty('memoryNode');
});

it('tells its host the image that its first disk is a copy of', () => {
  const own = { name: 'root', source: { image: 'debian-13' } };
  const data = { name: 'data', source: { image: 'archive' } };
  expect(configOf({ disks: [own, data] })).toMatchObject({ guest: { image: 'debian-13' } });
  expect(configOf({ disks: [{ name: 'root', volume: 'kept' }] })).not.toHaveProperty('guest.image');
});
