import { HEARTBEAT_TIMEOUT_MS, powerOnHostAnswer, telemetrySubject } from '@xenolith/contracts';
import { uuidFrom } from '@xenolith/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  codeOf,
  Commander,
  configsFor,
  freshId,
  Services,
  valueOf,
  type AgentUnderTest,
  type HostTraits,
  type MakeAgent,
} from './conformance-harness.js';

const VM = uuidFrom('agent-conformance', 'vm');
const HOST = uuidFrom('host');

/** What the contract says of hosts that are powered off and on. */
export const describePower = (name: string, makeAgent: MakeAgent, traits: HostTraits): void => {
  const configOf = configsFor(traits);

  describe(`agent contract, power: ${name}`, () => {
    let agent: AgentUnderTest;
    let services: Services;
    let compute: Commander;
    let beats = 0;

    beforeEach(async () => {
      services = new Services();
      agent = await makeAgent({ services: (bus) => services.serve(bus) });
      compute = new Commander(agent);
      beats = 0;
      await agent.bus.subscribe(telemetrySubject('*'), () => {
        beats += 1;
      });
      await agent.until(() => services.registrations().length > 0);
    });
    afterEach(() => agent.stop());

    const off = () => compute.ask('PowerOffHost', HOST, {});
    const on = () => compute.ask('PowerOnHost', HOST, {});
    const settled = async (promise: Promise<unknown>): Promise<string> =>
      agent.settled(
        promise.then(
          () => 'answered',
          () => 'silent',
        ),
      );
    const reachable = (): Promise<string> =>
      settled(compute.send(compute.message('GetInventory', HOST, {}), HEARTBEAT_TIMEOUT_MS));
    const boots = (): readonly string[] => [...new Set(services.registrations().map(({ bootId }) => bootId))];

    it('sends no heartbeats and answers nothing else while the host is off', async () => {
      expect(codeOf(await off())).toBe('ok');
      beats = 0;
      expect(await reachable()).toBe('silent');
      expect(await settled(compute.send(compute.message('StartDomain', VM, start()), HEARTBEAT_TIMEOUT_MS))).toBe(
        'silent',
      );
      expect(beats).toBe(0);
    });

    const start = () => ({ incarnation: 1, paused: false, config: configOf('web') });

    it('boots when it is powered on, and registers under the boot id that was told', async () => {
      await off();
      const { bootId } = powerOnHostAnswer.parse(valueOf(await on()));
      await agent.until(() => boots().includes(bootId));
      expect(boots()).toHaveLength(2);
      expect(codeOf(await compute.start(VM, configOf('web')))).toBe('ok');
    });

    it('has nothing to do where the power is as it shall be', async () => {
      const before = await compute.inventory();
      expect(powerOnHostAnswer.parse(valueOf(await on())).bootId).toBe(before.bootId);
      await off();
      expect(codeOf(await off())).toBe('ok');
    });

    it('answers a repeated command as before, and does it once', async () => {
      const again = { commandId: freshId('off') };
      await compute.ask('PowerOffHost', HOST, {}, again);
      const { bootId } = powerOnHostAnswer.parse(valueOf(await on()));
      expect(codeOf(await compute.ask('PowerOffHost', HOST, {}, again))).toBe('ok');
      await agent.until(() => boots().includes(bootId));
    });

    it('refuses to power off a host with guests, which run on', async () => {
      await compute.start(VM, configOf('web'));
      expect(codeOf(await off())).toBe('host_in_use');
      expect(await compute.domain(VM)).toMatchObject({ state: 'running' });
    });

    it('keeps a host off over a restart of the agent', async () => {
      await off();
      await agent.restart();
      services.heard.length = 0;
      beats = 0;
      expect(await reachable()).toBe('silent');
      expect([beats, services.registrations().length]).toEqual([0, 0]);
      const { bootId } = powerOnHostAnswer.parse(valueOf(await on()));
      await agent.until(() => boots().includes(bootId));
    });

    it('lets a fault rule keep a host from waking, and slow it down', async () => {
      await off();
      const match = { commands: ['PowerOnHost'] };
      const fail = { code: 'fault_injected', message: 'its power supply is broken' };
      await compute.rules({ match, effect: { fail } });
      expect(codeOf(await on())).toBe('fault_injected');
      expect(await reachable()).toBe('silent');
      await compute.rules({ match, effect: { delay: 10 } });
      const { bootId } = powerOnHostAnswer.parse(valueOf(await on()));
      await agent.until(() => boots().includes(bootId));
    });

    it('refuses a power-off that a power-on has overtaken', async () => {
      const commandId = freshId('late');
      await compute.ask('PowerOnHost', HOST, {}, { undoes: commandId });
      expect(codeOf(await compute.ask('PowerOffHost', HOST, {}, { commandId }))).toBe('command_cancelled');
      expect(await reachable()).toBe('answered');
    });
  });
};
