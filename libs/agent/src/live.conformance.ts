import { savedImage } from '@xenolith/contracts';
import { uuidFrom } from '@xenolith/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  codeOf,
  Commander,
  configsFor,
  IGNORES,
  Services,
  startedOf,
  valueOf,
  type AgentUnderTest,
  type HostTraits,
  type MakeAgent,
} from './conformance-harness.js';

const MEBIBYTE = 2 ** 20;
const VM = uuidFrom('agent-conformance', 'vm');
const ON_RUN = { incarnation: 1 };

/** What the contract says of domains that change while they live. */
export const describeLiveDomains = (name: string, makeAgent: MakeAgent, traits: HostTraits): void => {
  const configOf = configsFor(traits);
  const startOf = (machine: string) => ({ ...ON_RUN, paused: false, config: configOf(machine) });

  describe(`agent contract, live domains: ${name}`, () => {
    let agent: AgentUnderTest;
    let compute: Commander;

    beforeEach(async () => {
      const services = new Services();
      agent = await makeAgent({ services: (bus) => services.serve(bus) });
      compute = new Commander(agent);
    });
    afterEach(() => agent.stop());

    describe('change', () => {
      it('accepts new vCPUs, shares and memory within what the domain was built for', async () => {
        await compute.start(VM, configOf('web', { maxVcpus: 4 }));
        const change = { vcpus: 3, weight: 512, cap: 150, pin: '0-1', dynamicMinBytes: 512 * MEBIBYTE };
        expect(codeOf(await compute.ask('ChangeDomain', VM, { ...ON_RUN, ...change }))).toBe('ok');
        const smaller = { ...ON_RUN, dynamicMaxBytes: 768 * MEBIBYTE };
        expect(codeOf(await compute.ask('ChangeDomain', VM, smaller))).toBe('ok');
        expect(await compute.domain(VM)).toMatchObject({ state: 'running' });
      });

      it('refuses what the domain or the host does not have', async () => {
        await compute.start(VM, configOf('web', { maxVcpus: 2 }));
        const refused = async (change: object): Promise<string> =>
          codeOf(await compute.ask('ChangeDomain', VM, { ...ON_RUN, ...change }));
        expect(await refused({ vcpus: 3 })).toBe('host_domain_unsupported');
        expect(await refused({ pin: '4000' })).toBe('host_domain_unsupported');
        expect(codeOf(await compute.ask('ChangeDomain', uuidFrom('nobody'), { ...ON_RUN, vcpus: 1 }))).toBe(
          'host_unknown_domain',
        );
      });

      it('keeps a change over a restart of the agent and a reboot of the guest', async () => {
        const { domid } = startedOf(await compute.start(VM, configOf('web', { maxVcpus: 4 })));
        await compute.ask('ChangeDomain', VM, { ...ON_RUN, vcpus: 4 });
        await agent.restart();
        const reboot = { ...ON_RUN, mode: 'clean', timeoutMs: 10_000 };
        expect(valueOf(await compute.ask('RebootDomain', VM, reboot))).toMatchObject({
          domid: traits.countsDomains ? domid + 1 : domid,
        });
        expect(codeOf(await compute.ask('ChangeDomain', VM, { ...ON_RUN, vcpus: 5 }))).toBe('host_domain_unsupported');
      });
    });

    describe('hot-plug', () => {
      const disk = { name: 'data', volume: 'v-2', sizeBytes: 1024 * MEBIBYTE, readOnly: false, fencingToken: 1 };
      const nic = { name: 'eth1', port: 'p-2', mac: '00:16:3e:00:00:02', ips: ['10.0.0.2'], bridge: 'xenbr0' };

      it('brings disks and interfaces to a domain that runs, and takes them away', async () => {
        await compute.start(VM, configOf('web'));
        for (const [type, data] of [
          ['AttachDisk', { disk }],
          ['AttachDisk', { disk }],
          ['AttachNic', { nic }],
          ['DetachNic', { name: 'eth1' }],
          ['DetachDisk', { name: 'data' }],
          ['DetachDisk', { name: 'data' }],
        ] as const)
          expect(codeOf(await compute.ask(type, VM, { ...ON_RUN, ...data })), type).toBe('ok');
        expect(await compute.domain(VM)).toMatchObject({ state: 'running' });
      });

      it('does so while it boots and while it is paused', async () => {
        const started = compute.send(compute.message('StartDomain', VM, startOf('web')));
        const plugged = compute.send(compute.message('AttachDisk', VM, { ...ON_RUN, disk }));
        expect((await agent.settled(Promise.all([started, plugged]))).map(codeOf)).toEqual(['ok', 'ok']);
        await compute.ask('PauseDomain', VM, ON_RUN);
        expect(codeOf(await compute.ask('AttachNic', VM, { ...ON_RUN, nic }))).toBe('ok');
      });

      it('says that a guest does not let go', async () => {
        await compute.start(VM, configOf('web', { disks: [disk] }));
        await compute.ask('PauseDomain', VM, ON_RUN);
        expect(codeOf(await compute.ask('DetachDisk', VM, { ...ON_RUN, name: 'data' }))).toBe('host_device_failed');
      });

      const gpu = { name: 'gpu', kind: 'pci', address: '0000:3b:00.0', model: 'A2', class: 'gpu' };
      const given = { ...ON_RUN, name: 'gpu', devices: [gpu] };

      it('refuses devices for a domain that is not there', async () => {
        expect(codeOf(await compute.ask('AttachDisk', VM, { ...ON_RUN, disk }))).toBe('host_unknown_domain');
        expect(codeOf(await compute.ask('DetachNic', VM, { ...ON_RUN, name: 'eth1' }))).toBe('host_unknown_domain');
        expect(codeOf(await compute.ask('AttachDevice', VM, given))).toBe('host_unknown_domain');
        expect(codeOf(await compute.ask('DetachDevice', VM, { ...ON_RUN, name: 'gpu' }))).toBe('host_unknown_domain');
      });

      it('refuses a device that the host does not have, and takes one away that nobody has', async () => {
        await compute.start(VM, configOf('web'));
        expect(codeOf(await compute.ask('AttachDevice', VM, given))).toBe('host_device_failed');
        expect(codeOf(await compute.ask('DetachDevice', VM, { ...ON_RUN, name: 'gpu' }))).toBe('ok');
      });
    });

    describe('suspend and resume', () => {
      const suspend = { ...ON_RUN, timeoutMs: 30_000 };
      const resume = (image: unknown, more: object = {}) => ({
        incarnation: 2,
        paused: false,
        config: configOf('web'),
        image,
        ...more,
      });

      it('saves a guest, ends its domain, and lets it go on', async () => {
        await compute.start(VM, configOf('web'));
        const image = savedImage.parse(valueOf(await compute.ask('SuspendDomain', VM, suspend)));
        expect(image.sizeBytes).toBeGreaterThan(1024 * MEBIBYTE);
        expect(await compute.domain(VM)).toBeUndefined();
        expect(startedOf(await compute.ask('ResumeDomain', VM, resume(image)))).toMatchObject({ state: 'running' });
        expect(await compute.domain(VM)).toMatchObject({ state: 'running' });
      });

      it('resumes paused on request', async () => {
        await compute.start(VM, configOf('web'));
        const image = valueOf(await compute.ask('SuspendDomain', VM, suspend));
        expect(startedOf(await compute.ask('ResumeDomain', VM, resume(image, { paused: true }))).state).toBe('paused');
        expect(codeOf(await compute.ask('UnpauseDomain', VM, { incarnation: 2 }))).toBe('ok');
      });

      it('gives the same image to whoever asks again, over a restart', async () => {
        await compute.start(VM, configOf('web'));
        const message = compute.message('SuspendDomain', VM, suspend);
        const image = await agent.settled(compute.send(message));
        await agent.restart();
        expect(await agent.settled(compute.send(message))).toEqual(image);
      });

      it(`${traits.asksToSuspend ? 'leaves a guest running' : 'saves a guest'} that does not acknowledge`, async () => {
        await compute.start(VM, configOf('stubborn', IGNORES));
        const code = codeOf(await compute.ask('SuspendDomain', VM, { ...suspend, timeoutMs: 300 }));
        expect(code).toBe(traits.asksToSuspend ? 'guest_ignored_shutdown' : 'ok');
        expect((await compute.domain(VM))?.state).toBe(traits.asksToSuspend ? 'running' : undefined);
      });

      it('refuses what is not there, what can’t be suspended, and what is no image', async () => {
        expect(codeOf(await compute.ask('SuspendDomain', VM, suspend))).toBe('host_unknown_domain');
        const plain = configOf('plain', { guestType: 'hvm', guest: { ...IGNORES.guest, pvDrivers: false } });
        await compute.start(VM, plain);
        const code = codeOf(await compute.ask('SuspendDomain', VM, suspend));
        expect(code).toBe(traits.asksToSuspend ? 'host_domain_unsupported' : 'ok');
        const nothing = resume({ sizeBytes: 0, content: '' }, { incarnation: 1 });
        expect(codeOf(await compute.ask('ResumeDomain', uuidFrom('other'), nothing))).toBe('host_domain_unsupported');
      });
    });

    describe('checkpoint', () => {
      const checkpoint = { ...ON_RUN, timeoutMs: 30_000 };
      const end = { ...ON_RUN, mode: 'hard', timeoutMs: 10_000 };
      const resumeFrom = (image: unknown) => ({ incarnation: 2, paused: false, config: configOf('web'), image });

      it('leaves the guest paused where that is asked for, so that its disks can be copied at that moment', async () => {
        await compute.start(VM, configOf('web'));
        expect(codeOf(await compute.ask('CheckpointDomain', VM, { ...checkpoint, paused: true }))).toBe('ok');
        expect(await compute.domain(VM)).toMatchObject({ state: 'paused' });
        expect(codeOf(await compute.ask('UnpauseDomain', VM, ON_RUN))).toBe('ok');
        expect(await compute.domain(VM)).toMatchObject({ state: 'running' });
      });

      it('saves a guest, which goes on in its domain', async () => {
        const { domid } = startedOf(await compute.start(VM, configOf('web')));
        const taken = compute.send(compute.message('CheckpointDomain', VM, checkpoint));
        expect(await compute.domain(VM)).toMatchObject({ domid, state: 'running' });
        const image = savedImage.parse(valueOf(await agent.settled(taken)));
        expect(image.sizeBytes).toBeGreaterThan(1024 * MEBIBYTE);
        expect(await compute.domain(VM)).toMatchObject({ domid, state: 'running' });
        const stop = { ...ON_RUN, mode: 'clean', timeoutMs: 10_000 };
        expect(codeOf(await compute.ask('ShutdownDomain', VM, stop))).toBe('ok');
      });

      it('wakes a later run from it', async () => {
        await compute.start(VM, configOf('web'));
        const image = valueOf(await compute.ask('CheckpointDomain', VM, checkpoint));
        expect(codeOf(await compute.ask('ResumeDomain', VM, resumeFrom(image)))).toBe('host_domain_exists');
        await compute.ask('ShutdownDomain', VM, end);
        expect(startedOf(await compute.ask('ResumeDomain', VM, resumeFrom(image)))).toMatchObject({ state: 'running' });
      });

      it('gives the same image to whoever asks again, over a restart', async () => {
        await compute.start(VM, configOf('web'));
        const message = compute.message('CheckpointDomain', VM, checkpoint);
        const image = await agent.settled(compute.send(message));
        await agent.restart();
        expect(await agent.settled(compute.send(message))).toEqual(image);
        expect(codeOf(image)).toBe('ok');
        expect(await compute.domain(VM)).toMatchObject({ state: 'running' });
      });

      it('is brought to its end by an agent that was killed meanwhile', async () => {
        const { domid } = startedOf(await compute.start(VM, configOf('web')));
        const message = compute.message('CheckpointDomain', VM, checkpoint);
        void compute.send(message).catch(() => undefined);
        await compute.inventory();
        await agent.restart();
        expect(codeOf(await agent.settled(compute.send(message)))).toBe('ok');
        expect(await compute.domain(VM)).toMatchObject({ domid, state: 'running' });
      });

      it(`${traits.asksToSuspend ? 'leaves' : 'saves'} a guest that does not acknowledge`, async () => {
        await compute.start(VM, configOf('stubborn', IGNORES));
        const code = codeOf(await compute.ask('CheckpointDomain', VM, { ...checkpoint, timeoutMs: 300 }));
        expect(code).toBe(traits.asksToSuspend ? 'guest_ignored_shutdown' : 'ok');
        expect((await compute.domain(VM))?.state).toBe('running');
      });

      it('refuses what is not there, and what can’t be suspended', async () => {
        expect(codeOf(await compute.ask('CheckpointDomain', VM, checkpoint))).toBe('host_unknown_domain');
        const plain = configOf('plain', { guestType: 'hvm', guest: { ...IGNORES.guest, pvDrivers: false } });
        await compute.start(VM, plain);
        const code = codeOf(await compute.ask('CheckpointDomain', VM, checkpoint));
        expect(code).toBe(traits.asksToSuspend ? 'host_domain_unsupported' : 'ok');
      });

      it('can be struck by a fault rule', async () => {
        await compute.start(VM, configOf('web'));
        const match = { phase: 'before', commands: ['CheckpointDomain'] };
        expect(codeOf(await compute.rules({ match, effect: { fail: {} }, probability: 1, count: 1 }))).toBe('ok');
        expect(codeOf(await compute.ask('CheckpointDomain', VM, checkpoint))).toBe('fault_injected');
        expect(codeOf(await compute.ask('CheckpointDomain', VM, checkpoint))).toBe('ok');
      });
    });
  });
};
