import type { AgentCommandType } from '@xenolith/contracts';
import { uuidFrom } from '@xenolith/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  codeOf,
  Commander,
  configsFor,
  freshId,
  IGNORES,
  Services,
  startedOf,
  valueOf,
  XEN_TRAITS,
  type AgentUnderTest,
  type HostTraits,
  type MakeAgent,
} from './conformance-harness.js';
import { describeLiveDomains } from './live.conformance.js';
import { describeMigration } from './migration.conformance.js';
import { describePower } from './power.conformance.js';

export { configOf, KVM_TRAITS, XEN_TRAITS } from './conformance-harness.js';
export type { AgentUnderTest, HostTraits, MakeAgent } from './conformance-harness.js';

const MEBIBYTE = 2 ** 20;
const VM = uuidFrom('agent-conformance', 'vm');
const OTHER = uuidFrom('agent-conformance', 'other');
const ON_RUN = { incarnation: 1 };
const CLEAN = { ...ON_RUN, mode: 'clean', timeoutMs: 10_000 };
const HARD = { ...ON_RUN, mode: 'hard', timeoutMs: 10_000 };

/** The agent contract: emulated Xen, emulated KVM and real QEMU pass the same. Guests under test must boot within a second. */
export const describeAgent = (name: string, makeAgent: MakeAgent, traits: HostTraits = XEN_TRAITS): void => {
  const configOf = configsFor(traits);
  /** The n-th domain of a host. */
  const domidOf = (nth: number): unknown => (traits.countsDomains ? nth : expect.any(Number));

  describe(`agent contract: ${name}`, () => {
    let agent: AgentUnderTest;
    let services: Services;
    let compute: Commander;

    beforeEach(async () => {
      services = new Services();
      agent = await makeAgent({ services: (bus) => services.serve(bus) });
      compute = new Commander(agent);
    });
    afterEach(() => agent.stop());

    describe('registration', () => {
      it('registers its host with hardware, control domain and an inventory', async () => {
        await agent.until(() => services.registrations().length > 0);
        const [first] = services.registrations();
        expect(first?.name).toBe(agent.host);
        expect(first?.domains).toEqual([]);
        expect(first?.hardware.numaNodes.flatMap((node) => node.threads)).toHaveLength(
          first?.hardware.cpu.threads ?? 0,
        );
        expect(first?.controlDomain !== undefined).toBe(traits.controlDomain);
        expect(first?.allocatableMemoryBytes).toBeLessThan(
          (first?.hardware.memoryBytes ?? 0) - (first?.controlDomain?.memoryBytes ?? 0),
        );
      });

      it('registers again after a restart, with the same boot id and everything that runs', async () => {
        await compute.start(VM, configOf('web'));
        await agent.until(() => services.registrations().length > 0);
        const before = services.registrations().at(-1);
        services.heard.length = 0;
        await agent.restart();
        await agent.until(() => services.registrations().length > 0);
        const after = services.registrations().at(-1);
        expect(after?.bootId).toBe(before?.bootId);
        expect(after?.domains).toEqual([{ virtualMachine: VM, incarnation: 1, domid: domidOf(1), state: 'running' }]);
      });
    });

    describe('start', () => {
      it('starts a domain and lists it', async () => {
        const { bootId } = await compute.inventory();
        expect(startedOf(await compute.start(VM, configOf('web')))).toEqual({
          domid: domidOf(1),
          state: 'running',
          bootId,
        });
        expect(startedOf(await compute.start(OTHER, configOf('db')))).toEqual({
          domid: domidOf(2),
          state: 'running',
          bootId,
        });
        expect(await compute.domain(VM)).toMatchObject({ domid: domidOf(1), state: 'running' });
      });

      it('leaves a domain paused on request', async () => {
        expect(startedOf(await compute.start(VM, configOf('web'), { paused: true })).state).toBe('paused');
        expect(await compute.domain(VM)).toMatchObject({ state: 'paused' });
      });

      it('answers the same command id with the same answer and starts nothing twice', async () => {
        const message = compute.message('StartDomain', VM, { ...ON_RUN, paused: false, config: configOf('web') });
        const [first, second] = await agent.settled(Promise.all([compute.send(message), compute.send(message)]));
        const third = await agent.settled(compute.send(message));
        expect([first, second, third].map(startedOf)).toMatchObject(
          Array(3).fill({ domid: domidOf(1), state: 'running' }),
        );
        expect((await compute.inventory()).domains).toHaveLength(1);
      });

      it('refuses a command id that was used for another request', async () => {
        const commandId = freshId('reused');
        await compute.ask('StartDomain', VM, { ...ON_RUN, paused: false, config: configOf('web') }, { commandId });
        expect(codeOf(await compute.ask('PauseDomain', VM, ON_RUN, { commandId }))).toBe('command_id_reused');
      });

      it('answers another command id for a run that is up already with that run', async () => {
        await compute.start(VM, configOf('web'));
        expect(startedOf(await compute.start(VM, configOf('web'))).domid).toEqual(domidOf(1));
      });

      it('refuses a run while another one is there, and an older one for good', async () => {
        await compute.start(VM, configOf('web'), { incarnation: 2 });
        expect(codeOf(await compute.start(VM, configOf('web'), { incarnation: 3 }))).toBe('host_domain_exists');
        expect(codeOf(await compute.start(VM, configOf('web'), { incarnation: 1 }))).toBe('host_stale_incarnation');
      });

      it('refuses a domain that does not fit, to the byte, and takes it once there is room', async () => {
        await agent.until(() => services.registrations().length > 0);
        const free = services.registrations()[0]?.allocatableMemoryBytes ?? 0;
        let half = Math.floor(free / 2 / MEBIBYTE) * MEBIBYTE;
        const needs = (): number => half + traits.overheadBytes({ vcpus: 1, staticMaxBytes: half });
        while (2 * needs() > free) half -= MEBIBYTE;
        const big = configOf('big', { staticMaxBytes: half, dynamicMinBytes: half, dynamicMaxBytes: half });
        const spare = free - 2 * needs();
        expect(codeOf(await compute.start(VM, big))).toBe('ok');
        expect(codeOf(await compute.start(OTHER, big))).toBe('ok');
        expect(spare).toBeLessThan(256 * MEBIBYTE);
        const third = uuidFrom('third');
        expect(codeOf(await compute.start(third, configOf('third')))).toBe('host_out_of_memory');
        await compute.ask('DestroyDomain', OTHER, ON_RUN);
        expect(codeOf(await compute.start(third, configOf('third')))).toBe('ok');
      });

      it('refuses what it does not know and what is malformed', async () => {
        expect(codeOf(await compute.ask('StartDomain', VM, { incarnation: 0 }))).toBe('command_malformed');
        const unknown = compute.message('FlyDomain' as AgentCommandType, VM, ON_RUN);
        expect(codeOf(await agent.settled(compute.send(unknown)))).toBe('command_unknown');
      });
    });

    describe('stop and reboot', () => {
      it('shuts a guest down cleanly', async () => {
        await compute.start(VM, configOf('web'));
        expect(codeOf(await compute.ask('ShutdownDomain', VM, CLEAN))).toBe('ok');
        expect(await compute.domain(VM)).toBeUndefined();
        expect(services.of('ReportDomainStopped')).toEqual([]);
      });

      it('says that a guest ignored the request, and leaves it running', async () => {
        await compute.start(VM, configOf('stubborn', IGNORES));
        const reply = await compute.ask('ShutdownDomain', VM, { ...CLEAN, timeoutMs: 300 });
        expect(codeOf(reply)).toBe('guest_ignored_shutdown');
        expect(await compute.domain(VM)).toMatchObject({ state: 'running' });
        expect(codeOf(await compute.ask('ShutdownDomain', VM, HARD))).toBe('ok');
        expect(await compute.domain(VM)).toBeUndefined();
      });

      it('lets a hard shutdown overtake a clean one', async () => {
        await compute.start(VM, configOf('stubborn', IGNORES));
        const clean = compute.send(compute.message('ShutdownDomain', VM, CLEAN));
        const hard = compute.send(compute.message('ShutdownDomain', VM, HARD));
        const replies = await agent.settled(Promise.all([clean, hard]));
        expect(replies.map(codeOf)).toEqual(['ok', 'ok']);
      });

      it('has nothing to do for a domain that is gone', async () => {
        expect(codeOf(await compute.ask('ShutdownDomain', VM, CLEAN))).toBe('ok');
        expect(codeOf(await compute.ask('DestroyDomain', VM, ON_RUN))).toBe('ok');
        expect(codeOf(await compute.ask('RebootDomain', VM, CLEAN))).toBe('host_unknown_domain');
        expect(codeOf(await compute.ask('PauseDomain', VM, ON_RUN))).toBe('host_unknown_domain');
      });

      it(`gives a rebooted domain ${traits.countsDomains ? 'a new id' : 'its old id, as its process stays'}`, async () => {
        const first = startedOf(await compute.start(VM, configOf('web'))).domid;
        const after = (reboots: number): number => (traits.countsDomains ? first + reboots : first);
        for (const [data, reboots] of [
          [CLEAN, 1],
          [HARD, 2],
        ] as const) {
          expect(valueOf(await compute.ask('RebootDomain', VM, data))).toMatchObject({ domid: after(reboots) });
        }
        expect(await compute.domain(VM)).toMatchObject({ domid: after(2), state: 'running' });
      });

      it('pauses and unpauses, however often it is asked', async () => {
        await compute.start(VM, configOf('web'));
        for (const [type, state] of [
          ['PauseDomain', 'paused'],
          ['PauseDomain', 'paused'],
          ['UnpauseDomain', 'running'],
        ] as const) {
          expect(codeOf(await compute.ask(type, VM, ON_RUN))).toBe('ok');
          expect(await compute.domain(VM)).toMatchObject({ state });
        }
      });

      it('refuses commands for an older run than it knows', async () => {
        await compute.start(VM, configOf('web'), { incarnation: 2 });
        expect(codeOf(await compute.ask('ShutdownDomain', VM, HARD))).toBe('host_stale_incarnation');
        expect(codeOf(await compute.ask('PauseDomain', VM, ON_RUN))).toBe('host_stale_incarnation');
        expect(codeOf(await compute.ask('DestroyDomain', VM, ON_RUN))).toBe('ok');
        expect(await compute.domain(VM)).toMatchObject({ state: 'running' });
      });
    });

    describe('undo', () => {
      it('refuses a start that comes after its undo', async () => {
        const start = compute.message('StartDomain', VM, { ...ON_RUN, paused: false, config: configOf('web') });
        expect(codeOf(await compute.ask('DestroyDomain', VM, ON_RUN, { undoes: start.commandId }))).toBe('ok');
        expect(codeOf(await agent.settled(compute.send(start)))).toBe('command_cancelled');
        expect((await compute.inventory()).domains).toEqual([]);
      });

      it('remembers that over a restart', async () => {
        const start = compute.message('StartDomain', VM, { ...ON_RUN, paused: false, config: configOf('web') });
        await compute.ask('DestroyDomain', VM, ON_RUN, { undoes: start.commandId });
        await agent.restart();
        expect(codeOf(await agent.settled(compute.send(start)))).toBe('command_cancelled');
      });

      it('ends a start that is under way', async () => {
        const config = configOf('slow', {
          guest: { os: 'linux', pvDrivers: true, ignoresShutdown: false, bootSeconds: 15 },
        });
        const start = compute.message('StartDomain', VM, { ...ON_RUN, paused: false, config });
        const started = compute.send(start);
        const destroyed = compute.send(compute.message('DestroyDomain', VM, ON_RUN, { undoes: start.commandId }));
        const replies = await agent.settled(Promise.all([started, destroyed]));
        expect(replies.map(codeOf)).toEqual(['command_cancelled', 'ok']);
        expect((await compute.inventory()).domains).toEqual([]);
      });

      it('starts no run that was destroyed, under whatever command id', async () => {
        await compute.start(VM, configOf('web'));
        await compute.ask('DestroyDomain', VM, ON_RUN);
        expect(codeOf(await compute.start(VM, configOf('web')))).toBe('host_stale_incarnation');
        expect(codeOf(await compute.start(VM, configOf('web'), { incarnation: 2 }))).toBe('ok');
      });
    });

    describe('restart of the agent', () => {
      it('keeps its domains and its answers', async () => {
        const start = compute.message('StartDomain', VM, { ...ON_RUN, paused: false, config: configOf('web') });
        const before = await agent.settled(compute.send(start));
        await agent.restart();
        expect(await agent.settled(compute.send(start))).toEqual(before);
        expect(await compute.domain(VM)).toMatchObject({ domid: domidOf(1), state: 'running' });
        expect(startedOf(await compute.start(OTHER, configOf('db'))).domid).toEqual(domidOf(2));
      });

      it('goes on with what was under way, and answers whoever asks again', async () => {
        const config = configOf('slow', {
          guest: { os: 'linux', pvDrivers: true, ignoresShutdown: false, bootSeconds: 1 },
        });
        const start = compute.message('StartDomain', VM, { ...ON_RUN, paused: false, config });
        const lost = compute.send(start).catch(() => undefined);
        const paused = await compute.start(OTHER, configOf('db'), { paused: true });
        expect(startedOf(paused).domid).toEqual(domidOf(2));
        await agent.restart();
        expect(startedOf(await agent.settled(compute.send(start)))).toMatchObject({
          domid: domidOf(1),
          state: 'running',
        });
        expect((await compute.inventory()).domains).toHaveLength(2);
        void lost;
      });
    });

    describe('fault rules', () => {
      const on = (effect: object, more: object = {}): object => ({
        match: { commands: ['StartDomain'] },
        effect,
        ...more,
      });

      it('refuses a command that a rule lets fail, and reports the firing', async () => {
        await compute.rules(on({ fail: {} }, { count: 1 }));
        const reply = await compute.start(VM, configOf('web'));
        expect(codeOf(reply)).toBe('fault_injected');
        expect((await compute.inventory()).domains).toEqual([]);
        expect(codeOf(await compute.start(VM, configOf('web')))).toBe('ok');
        await agent.until(() => services.of('RecordFaultFired').length > 0);
        expect(services.of('RecordFaultFired')[0]).toMatchObject({
          streamId: uuidFrom('rule', 0),
          data: { host: agent.host, command: 'StartDomain', fired: 1 },
        });
      });

      it('gives a struck command the same answer again', async () => {
        await compute.rules(on({ fail: { code: 'host_out_of_memory' } }, { count: 1 }));
        const message = compute.message('StartDomain', VM, { ...ON_RUN, paused: false, config: configOf('web') });
        expect(codeOf(await agent.settled(compute.send(message)))).toBe('host_out_of_memory');
        expect(codeOf(await agent.settled(compute.send(message)))).toBe('host_out_of_memory');
      });

      it('strikes after the effect when the rule says so', async () => {
        await compute.rules({ match: { phase: 'after' }, effect: { fail: {} }, count: 1 });
        expect(codeOf(await compute.start(VM, configOf('web')))).toBe('fault_injected');
        expect(await compute.domain(VM)).toMatchObject({ state: 'running' });
      });

      it('passes over commands, hosts and chances that do not match', async () => {
        await compute.rules(
          { match: { commands: ['PauseDomain'] }, effect: { fail: {} } },
          { match: { hosts: ['elsewhere-*'] }, effect: { fail: {} } },
          { match: { hosts: [`${agent.host.slice(0, -1)}?`] }, effect: { fail: {} }, probability: 0 },
          { match: {}, effect: { fail: {} }, enabled: false },
        );
        expect(codeOf(await compute.start(VM, configOf('web')))).toBe('ok');
        expect(codeOf(await compute.ask('PauseDomain', VM, ON_RUN))).toBe('fault_injected');
      });

      it('leaves a command unanswered', async () => {
        await compute.rules(on({ timeout: true }, { count: 1 }));
        const message = compute.message('StartDomain', VM, { ...ON_RUN, paused: false, config: configOf('web') });
        await expect(agent.settled(compute.send(message, 1_000))).rejects.toThrow();
        expect((await compute.inventory()).domains).toEqual([]);
      });

      it('delays a command, and lets its undo overtake it', async () => {
        await compute.rules(on({ delay: 2 }, { count: 1 }));
        const start = compute.message('StartDomain', VM, { ...ON_RUN, paused: false, config: configOf('web') });
        const started = compute.send(start);
        const undone = compute.send(compute.message('DestroyDomain', VM, ON_RUN, { undoes: start.commandId }));
        expect((await agent.settled(Promise.all([started, undone]))).map(codeOf)).toEqual(['command_cancelled', 'ok']);
        expect((await compute.inventory()).domains).toEqual([]);
      });

      it('crashes a host: every domain is lost, and it registers with a new boot id', async () => {
        await compute.start(OTHER, configOf('db'));
        await agent.until(() => services.registrations().length > 0);
        const before = services.registrations().at(-1);
        await compute.rules({
          match: { commands: ['StartDomain'], phase: 'after' },
          effect: { crashHost: true },
          count: 1,
        });
        services.heard.length = 0;
        expect(codeOf(await compute.start(VM, configOf('web')))).toBe('host_crashed');
        await agent.until(() => services.registrations().length > 0);
        const after = services.registrations().at(-1);
        expect(after?.domains).toEqual([]);
        expect(after?.bootId).not.toBe(before?.bootId);
        expect(codeOf(await compute.start(OTHER, configOf('db')))).toBe('host_stale_incarnation');
        expect(startedOf(await compute.start(OTHER, configOf('db'), { incarnation: 2 })).domid).toEqual(domidOf(1));
      });

      it('kills the daemon that all changes need: says so, refuses them, and lets domains run on', async () => {
        const daemon = traits.controlDomain ? 'xenstored' : 'libvirtd';
        await compute.start(VM, configOf('web'));
        await compute.rules({ effect: { killDaemon: daemon }, count: 1 });
        const told = (): unknown => services.registrations().at(-1)?.lostDaemons;
        await agent.until(() => told() !== undefined);
        expect(told()).toEqual([daemon]);
        expect(codeOf(await compute.ask('PauseDomain', VM, ON_RUN))).toBe('host_control_plane_lost');
        expect(codeOf(await compute.start(OTHER, configOf('db')))).toBe('host_control_plane_lost');
        expect(await compute.domain(VM)).toMatchObject({ state: 'running' });
        services.heard.length = 0;
        await agent.restart();
        await agent.until(() => services.registrations().length > 0);
        expect(told()).toEqual([daemon]);
      });

      it('keeps rules and counts over a restart', async () => {
        await compute.rules(on({ fail: {} }, { count: 2 }));
        expect(codeOf(await compute.start(VM, configOf('web')))).toBe('fault_injected');
        await agent.restart();
        expect(codeOf(await compute.start(VM, configOf('web')))).toBe('fault_injected');
        expect(codeOf(await compute.start(VM, configOf('web')))).toBe('ok');
      });
    });
  });
  describeLiveDomains(name, makeAgent, traits);
  describeMigration(name, makeAgent, traits);
  describePower(name, makeAgent, traits);
};
