import { ServiceEngine } from '@xenolith/engine';
import { machine, owner, TestService, verdict } from '@xenolith/testing';
import { uuidFrom } from '@xenolith/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { describeStorageEvent } from './storage.descriptions.js';
import { storageService } from './storage.service.js';

const GIB = 2 ** 30;
const SAN = { type: 'iscsi', class: 'data', capacity: '10Gi', overcommit: 2, default: true };
const IMAGE = { size: '2Gi', format: 'cow', os: 'linux', description: '' };
const sparse = (size?: string): object => ({ ...(size ? { size } : {}), format: 'cow', provisioning: 'sparse' });

const started = async (): Promise<TestService> => {
  const service = await new TestService((ports) => new ServiceEngine(storageService(), ports)).start();
  expect(verdict(await service.create('StorageDomain', 'san', SAN, false))).toBe('ok');
  expect(verdict(await service.create('Image', 'debian-13', IMAGE, false))).toBe('ok');
  return service;
};

const provision = (name: string, incarnation = 1, vm = 'web'): object => ({
  name,
  namespace: 'default',
  owner: owner(vm),
  spec: { ...sparse(), source: { image: 'debian-13' } },
  virtualMachine: machine(vm),
  incarnation,
});

describe('volumes', () => {
  it('take size and storage domain from image and default', async () => {
    const service = await started();
    await service.create('Volume', 'data', { ...sparse(), source: { image: 'debian-13' } });
    expect(service.documents('volume').get('data')?.status).toMatchObject({
      phase: 'Available',
      size: '2Gi',
      storageDomain: 'san',
    });
    expect(service.documents('storagedomain').get('san')?.status).toMatchObject({ allocated: '2Gi', volumes: 1 });
  });

  it('are refused with what is missing', async () => {
    const service = await started();
    expect(verdict(await service.create('Volume', 'a', sparse()))).toBe('object_invalid');
    expect(verdict(await service.create('Volume', 'a', { ...sparse('1Gi'), storageDomain: 'no' }))).toBe(
      'storage_domain_not_found',
    );
    expect(verdict(await service.create('Volume', 'a', { ...sparse(), source: { image: 'no' } }))).toBe(
      'image_not_found',
    );
    expect(verdict(await service.create('Volume', 'a', { ...sparse('1Gi'), source: { image: 'debian-13' } }))).toBe(
      'object_invalid',
    );
  });

  it('never take more than the over-commitment promises, preallocated ones never more than there is', async () => {
    const service = await started();
    expect(await service.create('Volume', 'a', sparse('21Gi'))).toMatchObject({
      rejection: { code: 'storage_domain_full', message: expect.stringContaining('20Gi of 20Gi left') as string },
    });
    expect(verdict(await service.create('Volume', 'a', sparse('15Gi')))).toBe('ok');
    const fixed = (size: string): object => ({ ...sparse(size), provisioning: 'preallocated' });
    expect(verdict(await service.create('Volume', 'b', fixed('5Gi')))).toBe('ok');
    expect(verdict(await service.create('Volume', 'c', sparse('1Gi')))).toBe('storage_domain_full');
    await service.send('DeleteVolume', 'a', {});
    expect(verdict(await service.create('Volume', 'd', fixed('6Gi')))).toBe('storage_domain_full');
    expect(verdict(await service.create('Volume', 'd', fixed('5Gi')))).toBe('ok');
  });

  it('grow and never shrink', async () => {
    const service = await started();
    await service.create('Volume', 'a', sparse('2Gi'));
    expect(verdict(await service.update('Volume', 'a', sparse('3Gi')))).toBe('ok');
    expect(verdict(await service.update('Volume', 'a', sparse('2Gi')))).toBe('volume_shrink_forbidden');
    expect(verdict(await service.update('Volume', 'a', sparse()))).toBe('ok');
    expect(verdict(await service.update('Volume', 'a', sparse('30Gi')))).toBe('storage_domain_full');
    expect(verdict(await service.update('Volume', 'a', { ...sparse(), format: 'raw' }))).toBe('object_invalid');
    expect(service.documents('storagedomain').get('san')?.status).toMatchObject({ allocated: '3Gi' });
  });

  it('are leased to one machine at a time, with tokens that only grow', async () => {
    const service = await started();
    await service.create('Volume', 'a', sparse('1Gi'));
    const attach = (vm: string, incarnation: number) =>
      service.send('AttachVolume', 'a', { virtualMachine: machine(vm), incarnation });
    const token = { ok: true, value: { fencingToken: 1, sizeBytes: GIB, name: 'a' } };
    expect(await attach('web', 2)).toMatchObject(token);
    expect(await attach('web', 2)).toMatchObject(token);
    expect(verdict(await attach('db', 1))).toBe('volume_in_use');
    expect(verdict(await attach('web', 1))).toBe('virtual_machine_stale_incarnation');
    expect(await attach('web', 3)).toMatchObject({ value: { fencingToken: 2 } });
    const detach = (incarnation: number) =>
      service.send('DetachVolume', 'a', { virtualMachine: { uid: machine('web').uid }, incarnation });
    await detach(2);
    expect(service.documents('volume').get('a')?.status).toMatchObject({ phase: 'InUse', attachedTo: 'web' });
    await detach(3);
    expect(verdict(await attach('web', 2))).toBe('virtual_machine_stale_incarnation');
    expect(await attach('db', 1)).toMatchObject({ value: { fencingToken: 3 } });
  });

  it('of a machine are made and leased in one append, and again after an undo', async () => {
    const service = await started();
    expect(await service.send('ProvisionVolume', 'root', provision('web-root'))).toMatchObject({
      value: { fencingToken: 1, sizeBytes: 2 * GIB, name: 'web-root' },
    });
    expect(service.log.log.slice(-2).map((event) => event.type)).toEqual(['VolumeCreated', 'StorageReserved']);
    expect(await service.send('ProvisionVolume', 'root', provision('web-root', 2))).toMatchObject({
      value: { fencingToken: 2 },
    });
    const undo = (incarnation: number, remove: boolean) =>
      service.send('DeprovisionVolume', 'root', {
        virtualMachine: { uid: machine('web').uid },
        incarnation,
        delete: remove,
      });
    await undo(1, true);
    expect(service.documents('volume').size).toBe(1);
    await undo(2, true);
    await undo(2, true);
    expect(service.documents('volume').size).toBe(0);
    expect(service.documents('storagedomain').get('san')?.status).toMatchObject({ allocated: '0', volumes: 0 });
    expect(await service.send('ProvisionVolume', 'root', provision('web-root', 3))).toMatchObject({
      value: { fencingToken: 3 },
    });
  });

  it('that are in use go when their use ends', async () => {
    const service = await started();
    await service.create('Volume', 'a', sparse('1Gi'));
    await service.send('AttachVolume', 'a', { virtualMachine: machine('web'), incarnation: 1 });
    expect(verdict(await service.send('DeleteVolume', 'a', {}))).toBe('ok');
    expect(service.documents('volume').get('a')?.status).toMatchObject({ phase: 'Deleting', attachedTo: 'web' });
    await service.send('DetachVolume', 'a', { virtualMachine: { uid: machine('web').uid }, incarnation: 1 });
    expect(service.documents('volume').size).toBe(0);
  });

  it('of a machine that is collected go when its lease ends', async () => {
    const service = await started();
    await service.send('ProvisionVolume', 'root', provision('web-root'));
    expect(verdict(await service.send('DeleteVolume', 'root', {}))).toBe('volume_in_use');
    expect(verdict(await service.send('DeleteVolume', 'root', {}, { actor: 'process:collector' }))).toBe('ok');
    expect(service.documents('volume').get('web-root')?.status).toMatchObject({ phase: 'Deleting' });
    await service.send('DetachVolume', 'root', { virtualMachine: { uid: machine('web').uid }, incarnation: 1 });
    expect(service.documents('volume').size).toBe(0);
  });
});

describe('a lease', () => {
  const run = (incarnation: number) => ({ virtualMachine: machine('web'), incarnation });
  const ended = (incarnation: number) => ({ virtualMachine: { uid: machine('web').uid }, incarnation });

  it('is promised to the next run with its token before that takes it over', async () => {
    const service = await started();
    await service.send('ProvisionVolume', 'root', provision('web-root'));
    expect(await service.send('PrepareVolumeHandover', 'root', run(2))).toMatchObject({ value: { fencingToken: 2 } });
    expect(await service.send('PrepareVolumeHandover', 'root', run(2))).toMatchObject({ value: { fencingToken: 2 } });
    expect(await service.send('AttachVolume', 'root', run(1))).toMatchObject({ value: { fencingToken: 1 } });
    await service.send('CancelVolumeHandover', 'root', ended(2));
    expect(await service.send('PrepareVolumeHandover', 'root', run(3))).toMatchObject({ value: { fencingToken: 3 } });
    expect(verdict(await service.send('PrepareVolumeHandover', 'root', run(2)))).toBe(
      'virtual_machine_stale_incarnation',
    );
    // What is deleted stays the machine's until that lets go.
    await service.send('DeleteVolume', 'root', {}, { actor: 'process:collector' });
    expect(await service.send('AttachVolume', 'root', run(3))).toMatchObject({ value: { fencingToken: 3 } });
    expect(verdict(await service.send('AttachVolume', 'root', run(1)))).toBe('virtual_machine_stale_incarnation');
    await service.send('DetachVolume', 'root', ended(3));
    expect(service.documents('volume').size).toBe(0);
  });

  it('is promised by the machine that holds it only, and nobody else gets it meanwhile', async () => {
    const service = await started();
    await service.create('Volume', 'a', sparse('1Gi'));
    expect(verdict(await service.send('PrepareVolumeHandover', 'a', run(2)))).toBe('volume_in_use');
    await service.send('AttachVolume', 'a', run(1));
    await service.send('PrepareVolumeHandover', 'a', run(2));
    await service.send('DetachVolume', 'a', ended(1));
    const other = { virtualMachine: machine('db'), incarnation: 1 };
    expect(verdict(await service.send('AttachVolume', 'a', other))).toBe('volume_in_use');
    await service.send('DetachVolume', 'a', ended(1));
    await service.send('CancelVolumeHandover', 'a', ended(2));
    expect(verdict(await service.send('AttachVolume', 'a', other))).toBe('ok');
  });

  it('ends with its machine: a volume that a teardown had left behind could never be deleted', async () => {
    const service = await started();
    await service.send('ProvisionVolume', 'root', provision('web-root'));
    await service.send('ProvisionVolume', 'data', provision('db-root', 1, 'db'));
    expect(verdict(await service.send('DeleteVolume', 'root', {}))).toBe('volume_in_use');
    await service.logged('virtualmachine', machine('web').uid, 'VirtualMachineDeleted');
    expect(verdict(await service.send('DeleteVolume', 'root', {}))).toBe('ok');
    expect(verdict(await service.send('DeleteVolume', 'data', {}))).toBe('volume_in_use');
  });
});

describe('a snapshot of a volume', () => {
  const snap = { snapshot: uuidFrom('held'), name: 'before-root', owner: owner('before') };
  const run = { virtualMachine: machine('web'), incarnation: 1 };
  const revert = (incarnation = 1) =>
    ({ to: uuidFrom('held'), virtualMachine: { uid: machine('web').uid }, incarnation }) as const;
  const taken = async (): Promise<TestService> => {
    const service = await started();
    await service.send('ProvisionVolume', 'root', provision('web-root'));
    expect(await service.send('SnapshotVolume', 'root', snap)).toMatchObject({ value: { sizeBytes: 2 * GIB } });
    return service;
  };
  const volume = (service: TestService, name: string) => service.documents('volume').get(name);

  it('is another volume, made in the same append and never written', async () => {
    const service = await taken();
    expect(service.log.log.slice(-3).map(({ type }) => type)).toEqual([
      'VolumeSnapshotted',
      'VolumeCreated',
      'StorageReserved',
    ]);
    expect(volume(service, 'before-root')?.status).toMatchObject({ size: '2Gi', sealed: true, snapshotOf: 'web-root' });
    expect(service.documents('storagedomain').get('san')?.status).toMatchObject({ allocated: '4Gi', volumes: 2 });
    expect(verdict(await service.send('AttachVolume', 'held', run))).toBe('volume_not_available');
    expect(verdict(await service.send('AttachVolume', 'held', { ...run, readOnly: true }))).toBe('ok');
    const spec = { format: 'cow', provisioning: 'sparse', storageDomain: 'san', size: '3Gi' };
    const grow = { intent: 'update', metadata: { name: 'before-root', namespace: 'default' }, spec };
    expect(verdict(await service.send('ChangeVolume', 'held', grow))).toBe('object_invalid');
    const names = { ...snap, snapshot: uuidFrom('other') };
    expect(verdict(await service.send('SnapshotVolume', 'root', names))).toBe('already_exists');
  });

  it('outlives what it was taken of, and goes with its owner or by the undo', async () => {
    const service = await taken();
    await service.send('DetachVolume', 'root', { virtualMachine: { uid: machine('web').uid }, incarnation: 1 });
    expect(verdict(await service.send('DeleteVolume', 'root', {}))).toBe('ok');
    expect(verdict(await service.send('DeleteVolume', 'held', {}))).toBe('volume_in_use');
    expect(volume(service, 'before-root')).toBeDefined();
    await service.send('DiscardSealedVolume', 'held', {});
    await service.send('DiscardSealedVolume', 'held', {});
    expect(service.documents('volume').size).toBe(0);
    expect(service.documents('storagedomain').get('san')?.status).toMatchObject({ allocated: '0', volumes: 0 });
  });

  it('is what a volume is put back to by the run that holds the lease, size and all', async () => {
    const service = await taken();
    const spec = { format: 'cow', provisioning: 'sparse', source: { image: 'debian-13' }, size: '3Gi' };
    const grow = { intent: 'update', metadata: { name: 'web-root', namespace: 'default' }, spec };
    expect(verdict(await service.send('ChangeVolume', 'root', grow))).toBe('ok');
    expect(verdict(await service.send('RevertVolume', 'root', revert(2)))).toBe('volume_in_use');
    expect(verdict(await service.send('RevertVolume', 'root', { ...revert(), to: uuidFrom('root') }))).toBe(
      'volume_not_available',
    );
    expect(verdict(await service.send('RevertVolume', 'root', { ...revert(), to: uuidFrom('no') }))).toBe('not_found');
    expect(verdict(await service.send('RevertVolume', 'root', revert()))).toBe('ok');
    expect(volume(service, 'web-root')?.status).toMatchObject({ size: '2Gi', revertedTo: 'before-root' });
    const specs = service.log.documents(['volume']).documents.map(({ document }) => document['spec']);
    expect(specs).toMatchObject([{ size: '2Gi' }, { size: '2Gi' }]);
    expect(service.documents('storagedomain').get('san')?.status).toMatchObject({ allocated: '4Gi', volumes: 2 });
  });

  it('of memory is written under its first lease only', async () => {
    const service = await started();
    const image = { ...provision('before-memory'), owner: owner('before'), sealed: true };
    expect(verdict(await service.send('ProvisionVolume', 'held', image))).toBe('ok');
    expect(verdict(await service.send('ProvisionVolume', 'held', image))).toBe('ok');
    await service.send('DetachVolume', 'held', { virtualMachine: { uid: machine('web').uid }, incarnation: 1 });
    expect(verdict(await service.send('AttachVolume', 'held', { ...run, incarnation: 2 }))).toBe(
      'volume_not_available',
    );
  });
});

describe('what volumes stand on', () => {
  it('is not deleted under them, and the refusal names them', async () => {
    const service = await started();
    await service.create('Volume', 'a', { ...sparse(), source: { image: 'debian-13' } });
    for (const kind of ['StorageDomain', 'Image'])
      expect(await service.send(`Delete${kind}`, kind === 'Image' ? 'debian-13' : 'san', {})).toMatchObject({
        rejection: { code: 'object_in_use', message: expect.stringContaining('default/a') as string },
      });
    expect(verdict(await service.update('StorageDomain', 'san', { ...SAN, capacity: '512Mi' }, false))).toBe(
      'object_invalid',
    );
    await service.send('DeleteVolume', 'a', {});
    expect(verdict(await service.send('DeleteImage', 'debian-13', {}))).toBe('ok');
    expect(verdict(await service.send('DeleteStorageDomain', 'san', {}))).toBe('ok');
  });

  it('is described in words', async () => {
    const service = await started();
    await service.send('ProvisionVolume', 'root', provision('web-root'));
    expect(service.log.log.map((event) => describeStorageEvent(event)?.reason)).toEqual([
      'Created',
      'Created',
      'Allocated',
      undefined,
    ]);
  });
});

const step = fc.record({
  volume: fc.nat(5),
  gib: fc.integer({ min: 1, max: 8 }),
  fixed: fc.boolean(),
  do: fc.constantFrom('make', 'delete', 'grow'),
});

describe('a storage domain', () => {
  it('knows at any moment what its volumes were promised, and never promises too much', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
        const service = await started();
        let made = 0;
        const names = new Map<number, string>();
        const replies = steps.map((next) => {
          const name = names.get(next.volume) ?? `v${next.volume}`;
          const spec = { ...sparse(`${next.gib}Gi`), provisioning: next.fixed ? 'preallocated' : 'sparse' };
          if (next.do === 'delete') {
            names.set(next.volume, `v${next.volume}-${(made += 1)}`);
            return service.send('DeleteVolume', name, {});
          }
          return next.do === 'grow' ? service.update('Volume', name, spec) : service.create('Volume', name, spec);
        });
        await Promise.all(replies);
        const volumes = service.log
          .documents(['volume'])
          .documents.map(({ document }) => document['spec']) as unknown as {
          size: string;
          provisioning: string;
        }[];
        const total = (of: typeof volumes): number => of.reduce((sum, { size }) => sum + parseInt(size, 10), 0);
        const status = service.documents('storagedomain').get('san')?.status;
        expect(status).toMatchObject({
          volumes: volumes.length,
          allocated: volumes.length === 0 ? '0' : `${total(volumes)}Gi`,
        });
        expect(total(volumes)).toBeLessThanOrEqual(20);
        expect(total(volumes.filter(({ provisioning }) => provisioning === 'preallocated'))).toBeLessThanOrEqual(10);
      }),
      { numRuns: 100 },
    );
  });
});
