import { hostNames } from '@xenolith/contracts';
import { expect, it } from 'vitest';
import { namesNear } from './direct-host-client.js';

it('names the hosts that are most like one that is not there', () => {
  const names = [...hostNames(20), ...hostNames(4, 'kvm-')];
  expect(namesNear('kvm-9', names)).toEqual(hostNames(4, 'kvm-').concat('host-0001'));
  expect(namesNear('host-00012', names)[0]).toBe('host-0001');
  expect(namesNear('web', [])).toEqual([]);
});
