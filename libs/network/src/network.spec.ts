import { ServiceEngine } from '@xenolith/engine';
import { machine, owner, TestService, verdict } from '@xenolith/testing';
import { randomFrom } from '@xenolith/kernel';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddressPool } from './address-pool.js';
import { formatAddress, parseAddress, parseSubnet } from './ipv4.js';
import { networkService } from './network.service.js';

const spec = (cidr: string, more: object = {}): object => ({
  cidr,
  mtu: 1500,
  bridge: 'xenbr0',
  reserved: [],
  ...more,
});

const started = async (cidr = '10.0.0.0/29', more: object = {}): Promise<TestService> => {
  const service = await new TestService((ports) => new ServiceEngine(networkService(), ports)).start();
  expect(verdict(await service.create('Network', 'web', spec(cidr, more)))).toBe('ok');
  return service;
};

const addressesOf = (service: TestService): string[] =>
  [...service.documents('port').values()].map(({ status }) => (status['ips'] as string[])[0] ?? '');

const provision = (incarnation: number): object => ({
  name: 'web-eth0',
  namespace: 'default',
  owner: owner('web'),
  spec: { network: 'web' },
  virtualMachine: machine('web'),
  incarnation,
});

describe('a network', () => {
  it('gives its first address to the router unless told otherwise', async () => {
    const service = await started();
    const [document] = service.log.documents(['network']).documents;
    expect(document?.document).toMatchObject({ spec: { gateway: '10.0.0.1' }, status: { usable: 5 } });
  });

  it('is refused with what is wrong about its addresses', async () => {
    const service = await started();
    const causes = async (wished: object): Promise<unknown> => {
      const reply = await service.create('Network', 'other', wished);
      return reply.ok ? [] : reply.rejection.causes?.map((cause) => cause.field);
    };
    expect(await causes(spec('10.0.0.300/24'))).toEqual(['spec.cidr']);
    expect(await causes(spec('10.0.0.5/24'))).toEqual(['spec.cidr']);
    expect(await causes(spec('10.0.0.0/31'))).toEqual(['spec.cidr']);
    expect(await causes(spec('10.0.0.0/24', { gateway: '10.0.1.1' }))).toEqual(['spec.gateway']);
    expect(await causes(spec('10.0.0.0/24', { reserved: ['10.0.0.7', '10.0.0.255'] }))).toEqual(['spec.reserved[1]']);
  });

  it('keeps its subnet while it has ports, and is not deleted under them', async () => {
    const service = await started();
    await service.create('Port', 'p', { network: 'web' });
    expect(verdict(await service.update('Network', 'web', spec('10.1.0.0/29')))).toBe('object_invalid');
    expect(verdict(await service.update('Network', 'web', spec('10.0.0.0/29', { mtu: 9000 })))).toBe('ok');
    expect(verdict(await service.update('Network', 'web', spec('10.0.0.0/29', { reserved: ['10.0.0.2'] })))).toBe(
      'address_taken',
    );
    expect(await service.send('DeleteNetwork', 'web', {})).toMatchObject({
      rejection: { code: 'object_in_use', message: expect.stringContaining('default/p') as string },
    });
    await service.send('DeletePort', 'p', {});
    expect(verdict(await service.update('Network', 'web', spec('10.1.0.0/29')))).toBe('ok');
    expect(verdict(await service.send('DeleteNetwork', 'web', {}))).toBe('ok');
    await service.clock.advance(1_000);
    expect(service.documents('network').size).toBe(0);
    expect(service.log.allClaims().size).toBe(1);
  });

  it('that is being deleted takes no new port', async () => {
    const service = await started();
    await service.send('DeleteNetwork', 'web', {});
    expect(verdict(await service.create('Port', 'p', { network: 'web' }))).toBe('network_not_found');
  });
});

describe('ports', () => {
  it('get addresses that are never the router’s, reserved, the network’s or broadcast, until none is left', async () => {
    const service = await started('10.0.0.0/29', { reserved: ['10.0.0.3'] });
    const made = ['a', 'b', 'c', 'd', 'e', 'f'].map((name) => service.create('Port', name, { network: 'web' }));
    const verdicts = (await Promise.all(made)).map(verdict);
    expect(verdicts.sort()).toEqual(['network_full', 'network_full', 'ok', 'ok', 'ok', 'ok']);
    expect(addressesOf(service).sort()).toEqual(['10.0.0.2', '10.0.0.4', '10.0.0.5', '10.0.0.6']);
    expect(await service.create('Port', 'g', { network: 'web' })).toMatchObject({
      rejection: { message: expect.stringContaining('all 4 of 10.0.0.0/29') as string },
    });
  });

  it('get the addresses that they state, or are refused', async () => {
    const service = await started();
    const create = (name: string, more: object) => service.create('Port', name, { network: 'web', ...more });
    const mac = '02:00:00:00:00:01';
    expect(verdict(await create('a', { ip: '10.0.0.4', mac }))).toBe('ok');
    expect(service.documents('port').get('a')?.status).toMatchObject({ ips: ['10.0.0.4'], mac });
    expect(await create('b', { ip: '10.0.0.4' })).toMatchObject({
      rejection: { code: 'address_taken', message: 'IP address 10.0.0.4 is used by port "default/a"' },
    });
    expect(verdict(await create('b', { mac }))).toBe('address_taken');
    expect(verdict(await create('b', { ip: '10.0.0.1' }))).toBe('address_taken');
    expect(verdict(await create('b', { ip: '10.0.0.7' }))).toBe('address_outside_subnet');
    expect(verdict(await create('b', { ip: '10.9.0.1' }))).toBe('address_outside_subnet');
    expect(verdict(await create('b', { mac: '01:00:00:00:00:01' }))).toBe('object_invalid');
    expect(verdict(await service.create('Port', 'b', { network: 'none' }))).toBe('network_not_found');
    expect(verdict(await service.update('Port', 'a', { network: 'web', ip: '10.0.0.5' }))).toBe('object_invalid');
    expect(verdict(await service.update('Port', 'a', { network: 'web', ip: '10.0.0.4' }))).toBe('ok');
  });

  it('of a machine are made and attached in one append, keep their addresses, and go with the undo', async () => {
    const service = await started();
    const first = await service.send('ProvisionPort', 'eth0', provision(1));
    expect(first).toMatchObject({ value: { ips: ['10.0.0.2'], bridge: 'xenbr0', name: 'web-eth0' } });
    expect(service.log.log.at(-1)?.type).toBe('PortCreated');
    expect(await service.send('ProvisionPort', 'eth0', provision(2))).toEqual(first);
    expect(verdict(await service.send('ProvisionPort', 'eth0', provision(1)))).toBe(
      'virtual_machine_stale_incarnation',
    );
    expect(verdict(await service.send('AttachPort', 'eth0', { virtualMachine: machine('db') }))).toBe('port_in_use');
    expect(verdict(await service.send('DeletePort', 'eth0', {}))).toBe('port_in_use');
    const undo = (incarnation: number) =>
      service.send('DeprovisionPort', 'eth0', {
        virtualMachine: { uid: machine('web').uid },
        incarnation,
        delete: true,
      });
    await undo(1);
    expect(service.documents('port').size).toBe(1);
    await undo(2);
    expect(service.documents('port').size).toBe(0);
    expect(verdict(await service.send('ProvisionPort', 'eth0', provision(3)))).toBe('ok');
  });

  it('show the host of their machine, which kept the old one after a migration', async () => {
    const service = await started();
    const host = (): unknown => service.documents('port').get('web-eth0')?.status['host'];
    const move = (incarnation: number, to?: string) =>
      service.send('AttachPort', 'eth0', { virtualMachine: machine('web'), incarnation, ...(to ? { host: to } : {}) });
    await service.send('ProvisionPort', 'eth0', { ...provision(1), host: 'host-1' });
    expect(host()).toBe('host-1');
    await service.send('DeletePort', 'eth0', {}, { actor: 'system:tenancy' });
    expect(verdict(await move(2, 'host-2'))).toBe('ok');
    expect(verdict(await move(1))).toBe('virtual_machine_stale_incarnation');
    expect(host()).toBe('host-2');
    expect(verdict(await move(2))).toBe('ok');
    expect(host()).toBeUndefined();
  });

  it('stay free when a move comes late that their machine sent before it let go: they could never be deleted', async () => {
    const service = await started();
    await service.send('ProvisionPort', 'eth0', { ...provision(1), host: 'host-1' });
    const letGo = { virtualMachine: { uid: machine('web').uid } };
    expect(verdict(await service.send('DetachPort', 'eth0', letGo))).toBe('ok');
    const late = { virtualMachine: machine('web'), incarnation: 1 };
    expect(verdict(await service.send('AttachPort', 'eth0', late))).toBe('virtual_machine_stale_incarnation');
    await service.logged('virtualmachine', machine('web').uid, 'VirtualMachineDeleted');
    expect(verdict(await service.send('DeletePort', 'eth0', {}))).toBe('ok');
    expect(service.documents('port').size).toBe(0);
  });

  it('are free once their machine is gone: one that a teardown had left behind could never be deleted', async () => {
    const service = await started();
    await service.send('ProvisionPort', 'eth0', provision(1));
    expect(verdict(await service.send('DeletePort', 'eth0', {}))).toBe('port_in_use');
    await service.logged('virtualmachine', machine('web').uid, 'VirtualMachineDeleted');
    expect(verdict(await service.send('DeletePort', 'eth0', {}))).toBe('ok');
  });
});

const step = fc.record({ port: fc.nat(9), do: fc.constantFrom('make', 'make', 'delete'), wait: fc.nat(8) });

describe('addresses', () => {
  it('are never given twice, are all given back, and are refused only when all are used', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), fc.integer(), async (steps, seed) => {
        const dice = randomFrom(seed);
        const latency = { append: () => dice.below(10), sequence: () => dice.below(20) };
        const service = await new TestService((ports) => new ServiceEngine(networkService(), ports), latency).start();
        await service.settled(service.create('Network', 'web', spec('10.0.0.0/29')));
        const replies: Promise<string>[] = [];
        let uid = 0;
        const uids = new Map<number, string>();
        for (const next of steps) {
          const name = `port-${next.port}`;
          const object = uids.get(next.port) ?? name;
          if (next.do === 'delete') {
            replies.push(service.send('DeletePort', object, {}).then(verdict));
            uids.set(next.port, `${name}-${(uid += 1)}`);
          } else
            replies.push(
              service
                .send('ChangePort', object, {
                  intent: 'create',
                  metadata: { name, namespace: 'default' },
                  spec: { network: 'web' },
                })
                .then(verdict),
            );
          await service.clock.advance(next.wait);
        }
        const verdicts = await service.settled(Promise.all(replies));
        expect(
          verdicts.filter((word) => !['ok', 'already_exists', 'not_found', 'network_full'].includes(word)),
        ).toEqual([]);
        const held = addressesOf(service);
        expect(new Set(held).size).toBe(held.length);
        for (let number = 0; held.length + number < 5; number += 1)
          expect(verdict(await service.settled(service.create('Port', `filler-${number}`, { network: 'web' })))).toBe(
            'ok',
          );
        expect(verdict(await service.settled(service.create('Port', 'last', { network: 'web' })))).toBe('network_full');
        const macs = [...service.documents('port').values()].map(({ status }) => status['mac']);
        expect(new Set(macs).size).toBe(5);
        for (const { document } of service.log.documents(['port']).documents)
          expect((document['status'] as { mac: string }).mac).toMatch(/^00:16:3e:/);
      }),
      { numRuns: 100 },
    );
  });

  it('are found at once in a subnet of millions with 100,000 ports', () => {
    const subnet = parseSubnet('10.0.0.0/8');
    if (!subnet.ok) throw new Error('a good subnet');
    const pool = new AddressPool(subnet.value, new Set([subnet.value.base + 1]));
    for (let port = 0; port < 100_000; port += 1) pool.use(pool.offer(`c${port}`) ?? 0, `p${port}`);
    expect(pool.usedCount).toBe(100_000);
    expect(formatAddress(pool.offer('next') ?? 0)).toBe('10.1.134.162');
  });

  it('read and write as people do', () => {
    expect(formatAddress(parseAddress('192.168.1.254') ?? 0)).toBe('192.168.1.254');
    expect(['1.2.3', '1.2.3.256', 'a.b.c.d', ''].map(parseAddress)).toEqual([null, null, null, null]);
  });
});
