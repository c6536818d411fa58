import {
  commandSubject,
  deviceSupply,
  hostProfiles,
  registerHostData,
  type HostProfile,
  hostNames,
} from '@xenolith/contracts';
import { MemoryBus, VirtualClock } from '@xenolith/testing';
import { describe, expect, it } from 'vitest';
import { Agent, MemoryJournal, profiledHosts } from './index.js';

/** Starts an agent of these hosts on a journal; the answer is what each host says of itself, after as many starts. */
const registered = async (profiles: readonly unknown[], journal = new MemoryJournal()) => {
  const clock = new VirtualClock();
  const network = new MemoryBus(clock);
  const told = new Map<string, ReturnType<typeof registerHostData.parse>>();
  await network.connect('compute').serve(commandSubject('compute', 'RegisterHost'), ({ data }) => {
    const said = registerHostData.parse(data);
    told.set(said.name, said);
    return Promise.resolve({ ok: true, value: {} });
  });
  const made = new Map(profiledHosts(hostProfiles.parse(profiles)));
  const options = { seed: 's', profile: '2x8-128', bootTimeMs: 0, agentVersion: '0.1.0' } as const;
  const agent = new Agent(
    { ...options, hosts: [...hostNames(1), ...made.keys()], made },
    { bus: network.connect('agent'), clock, journal },
  );
  await agent.start();
  await clock.advanceUntil(() => told.size === made.size + 1, 60_000);
  await agent.stop();
  return told;
};

const LEGACY = { prefix: 'legacy-', count: 2, release: 'xen-4.0', hardware: '1x4-16', controlDomain: 'xenserver-v2' };

describe('hosts of profiles', () => {
  it('tell what they are, and others what is usual', async () => {
    const told = await registered([LEGACY]);
    expect([...told.keys()]).toEqual(['host-0001', 'legacy-0001', 'legacy-0002']);
    expect(told.get('host-0001')).toMatchObject({
      version: '4.20.1',
      setup: { release: 'xen-4.20', scheduler: 'credit2', network: 'bridge' },
      controlDomain: { policy: 'xenserver-v3' },
      maxVcpus: { hvm: 128, pvh: 128 },
    });
    expect(told.get('legacy-0002')).toMatchObject({
      version: '4.0.1',
      setup: { release: 'xen-4.0', scheduler: 'credit', network: 'bridge' },
      controlDomain: { policy: 'xenserver-v2', memoryBytes: 752 * 2 ** 20, vcpus: 4 },
      maxVcpus: { pv: 64, hvm: 64, pvh: 0 },
      hardware: { memoryBytes: 16 * 2 ** 30 },
    });
  });

  it('tell of their devices, and machines get what is asked for by them', async () => {
    const devices = [
      { kind: 'pci', address: '0000:18:00.0', model: 'X710', class: 'net', virtualFunctions: 2 },
      { kind: 'usb', address: '1.4', model: 'Dongle', id: '0781:5583', class: 'licence' },
    ];
    const told = await registered([{ prefix: 'rich-', devices, iommu: false, driverDomains: ['network'] }]);
    expect(told.get('rich-0001')?.setup).toMatchObject({ driverDomains: ['network'] });
    const { hardware } = registerHostData.parse(told.get('rich-0001'));
    expect(hardware.devices).toEqual([
      { kind: 'pci', address: '0000:18:00.0', model: 'X710', class: 'net', virtualFunctions: 2 },
      {
        kind: 'sriov',
        address: '0000:18:02.0',
        model: 'X710 Virtual Function',
        class: 'net',
        physicalFunction: '0000:18:00.0',
      },
      {
        kind: 'sriov',
        address: '0000:18:02.1',
        model: 'X710 Virtual Function',
        class: 'net',
        physicalFunction: '0000:18:00.0',
      },
      { kind: 'usb', address: '1.4', model: 'Dongle', id: '0781:5583', class: 'licence' },
    ]);
    expect(hardware.cpu.features).not.toContain('iommu');
    expect(deviceSupply(hardware.devices ?? [])).toEqual({
      'device:sriov/net': 2,
      'device:sriov=X710 Virtual Function': 2,
      'device:sriov@0000:18:02.0': 1,
      'device:sriov@0000:18:02.1': 1,
      'device:usb/licence': 1,
      'device:usb=Dongle': 1,
      'device:usb=0781:5583': 1,
      'device:usb@1.4': 1,
    });
  });

  it('share equal pages, and are promised more than there is, where they are told to', async () => {
    const memorySharing = { overcommitPercent: 150 };
    const kinds = ['xen', 'kvm'] as const;
    const profiles = kinds.flatMap((hypervisor) => [
      { prefix: `${hypervisor}-own-`, hypervisor },
      { prefix: `${hypervisor}-kept-`, hypervisor, memorySharing: {} },
      { prefix: `${hypervisor}-over-`, hypervisor, memorySharing },
    ]);
    const told = await registered(profiles);
    for (const kind of kinds) {
      const [own, kept, over] = ['own', 'kept', 'over'].map((which) => told.get(`${kind}-${which}-0001`));
      expect([own, kept, over].map((host) => host?.hypervisor)).toEqual([kind, kind, kind]);
      expect([own, kept, over].map((host) => host?.memorySharing?.overcommitPercent)).toEqual([undefined, 100, 150]);
      const bytes = own?.allocatableMemoryBytes ?? 0;
      expect(kept?.allocatableMemoryBytes).toBe(bytes);
      expect((over?.allocatableMemoryBytes ?? 0) / bytes).toBeCloseTo(1.5, 3);
    }
  });

  it('stay what they are: another start finds them so, and one that wants them otherwise ends', async () => {
    const journal = new MemoryJournal();
    const first = await registered([LEGACY], journal);
    expect(await registered([LEGACY], journal)).toEqual(first);
    await expect(registered([{ ...LEGACY, release: 'xen-4.20' }], journal)).rejects.toThrow(
      /^legacy-0001 was made as .*xen-4\.0.* and can not become .*xen-4\.20/,
    );
  });

  it('are refused where their profile makes no sense', () => {
    const parse = (profile: object): boolean => hostProfiles.safeParse([{ prefix: 'a-', ...profile }]).success;
    expect(parse({})).toBe(true);
    expect(parse({ release: 'xen-4.0', scheduler: 'credit2' })).toBe(false);
    expect(parse({ hypervisor: 'kvm', memorySharing: {} })).toBe(true);
    expect(parse({ hypervisor: 'kvm', network: 'nat' })).toBe(false);
    expect(parse({ memorySharing: { overcommitPercent: 99 } })).toBe(false);
    expect(hostProfiles.safeParse([{ prefix: 'a-' }, { prefix: 'a-' }]).success).toBe(false);
    const unknown: HostProfile = { prefix: 'a-', count: 1, hardware: 'abacus' };
    expect(() => profiledHosts([unknown])).toThrow('the profile of a- hosts names unknown hardware: abacus');
  });
});
