import type { PlacementRequest } from '@xenolith/contracts';
import type { IndexedEvent } from '@xenolith/engine';
import { beforeEach, describe, expect, it } from 'vitest';
import { requestFor } from './scheduler.spec-fixture.js';
import { VolumeIndex } from './volume.index.js';

const domain = (name: string, more: object = {}) => ({
  metadata: { name },
  spec: { type: 'nfs', class: 'data', default: false, ...more },
});
const volume = (name: string, storageDomain: string, namespace = 'default') => ({
  metadata: { name, namespace },
  status: { storageDomain },
});

describe('where the volumes of a machine are', () => {
  let index: VolumeIndex;
  const tell = (category: string, streamId: string, document: object | null): void =>
    index.apply({ category, streamId, document } as unknown as IndexedEvent);
  const needed = (asked: Partial<PlacementRequest>) => index.located(requestFor('vm', asked)).storageDomains;

  beforeEach(() => {
    index = new VolumeIndex();
    tell('storagedomain', 'pool', domain('pool', { type: 'local' }));
    tell('storagedomain', 'san', domain('san', { default: true }));
    tell('storagedomain', 'nas', domain('nas'));
    tell('volume', 'data', volume('data', 'nas'));
  });

  it.each<[string, Partial<PlacementRequest>, string[] | undefined]>([
    ['a machine without disks', {}, undefined],
    ['a volume that stands by itself', { volumes: [{ name: 'data', own: false }] }, ['nas']],
    ['a volume that nobody has made yet', { volumes: [{ name: 'later', own: false }] }, undefined],
    ['a disk that will be made by default', { volumes: [{ name: 'vm-root', own: true }] }, ['san']],
    [
      'a disk in a domain that is named',
      { storageDomains: ['nas'], volumes: [{ name: 'vm-root', own: false }] },
      ['nas'],
    ],
    ['a pool that every host has', { storageDomains: ['pool'], volumes: [] }, undefined],
    [
      'several at once',
      {
        storageDomains: ['pool', 'san'],
        volumes: [
          { name: 'data', own: false },
          { name: 'vm-root', own: true },
        ],
      },
      ['nas', 'san'],
    ],
  ])('knows %s', (_what, asked, domains) => {
    expect(needed(asked)).toEqual(domains);
  });

  it('goes by where a disk was made, whatever is the default now', () => {
    tell('volume', 'root', volume('vm-root', 'nas'));
    expect(needed({ volumes: [{ name: 'vm-root', own: true }] })).toEqual(['nas']);
    tell('volume', 'root', null);
    expect(needed({ volumes: [{ name: 'vm-root', own: true }] })).toEqual(['san']);
  });

  it('tells volumes of one name in several namespaces apart', () => {
    tell('volume', 'other', volume('data', 'san', 'other'));
    expect(needed({ volumes: [{ name: 'data', own: false }] })).toEqual(['nas']);
  });

  it('knows nothing of before once it is loaded anew', () => {
    index.load([]);
    expect(needed({ volumes: [{ name: 'data', own: true }] })).toBeUndefined();
  });
});
