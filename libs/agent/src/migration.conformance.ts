import { migrateDomainAnswer, reportMigrationRoundData } from '@xenolith/contracts';
import { uuidFrom, type CommandMessage } from '@xenolith/kernel';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  codeOf,
  Commander,
  configsFor,
  Services,
  startedOf,
  valueOf,
  type AgentUnderTest,
  type HostTraits,
  type MakeAgent,
} from './conformance-harness.js';

const VM = uuidFrom('agent-conformance', 'vm');
const OPERATION = uuidFrom('agent-conformance', 'operation');
const HERE = { incarnation: 1 };
const THERE = { incarnation: 2 };

/** What the contract says of live migration, between two hosts of one agent. */
export const describeMigration = (name: string, makeAgent: MakeAgent, traits: HostTraits): void => {
  const configOf = configsFor(traits);

  describe(`agent contract, live migration: ${name}`, () => {
    let agent: AgentUnderTest;
    let services: Services;
    let source: Commander;
    let target: Commander;

    beforeEach(async () => {
      services = new Services();
      agent = await makeAgent({ services: (bus) => services.serve(bus), hosts: 2 });
      source = new Commander(agent);
      target = new Commander(agent, agent.others[0]);
    });
    afterEach(() => agent.stop());

    const receive = () =>
      target.ask('ReceiveDomain', VM, { ...THERE, config: configOf('web'), from: agent.host, fromIncarnation: 1 });
    const order = (): CommandMessage =>
      source.message('MigrateDomain', VM, {
        ...HERE,
        to: agent.others[0],
        toIncarnation: 2,
        operation: OPERATION,
      });
    const ready = async (): Promise<void> => {
      await source.start(VM, configOf('web'));
      expect(codeOf(await receive())).toBe('ok');
    };

    it('takes a machine to another host, and tells of its rounds', async () => {
      await ready();
      expect(await target.domain(VM)).toBeUndefined();
      const figures = migrateDomainAnswer.parse(valueOf(await agent.settled(source.send(order()))));
      expect(figures.rounds).toBeGreaterThan(0);
      expect(await source.domain(VM)).toBeUndefined();
      expect(await target.domain(VM)).toMatchObject({ state: 'running' });
      const settled = await target.ask('SettleMigration', VM, THERE);
      expect(startedOf(settled)).toMatchObject({ state: 'running', bootId: (await target.inventory()).bootId });
      await agent.until(() => services.of('ReportMigrationRound').length === figures.rounds);
      for (const { streamId, data } of services.of('ReportMigrationRound')) {
        expect(streamId).toBe(OPERATION);
        expect(reportMigrationRoundData.parse(data).host).toBe(agent.host);
      }
      expect(services.of('ReportDomainStopped')).toEqual([]);
    });

    it('answers the same command again with the same figures, over a restart', async () => {
      await ready();
      const message = order();
      const first = await agent.settled(source.send(message));
      await agent.restart();
      expect(await agent.settled(source.send(message))).toEqual(first);
      expect(await target.domain(VM)).toMatchObject({ state: 'running' });
    });

    it('goes on over a restart of the agents in its middle', async () => {
      await ready();
      const message = order();
      const lost = source.send(message).catch(() => undefined);
      await target.inventory();
      await agent.restart();
      expect(codeOf(await agent.settled(source.send(message)))).toBe('ok');
      expect(await source.domain(VM)).toBeUndefined();
      expect(await target.domain(VM)).toMatchObject({ state: 'running' });
      void lost;
    });

    it('is cancelled, or says that it is too late', async () => {
      await ready();
      const migrated = source.send(order());
      const cancelled = codeOf(await source.ask('CancelMigration', VM, HERE));
      const code = codeOf(await agent.settled(migrated));
      expect(['ok migration_cancelled', 'migration_switched ok', 'ok ok']).toContain(`${cancelled} ${code}`);
      const settled = codeOf(await target.ask('SettleMigration', VM, THERE));
      expect(settled).toBe(code === 'ok' ? 'ok' : 'migration_failed');
      expect((await source.domain(VM)) === undefined).toBe(code === 'ok');
      expect((await target.domain(VM)) === undefined).toBe(code !== 'ok');
    });

    it('fails where the other host was told of nothing, or has given up, and the machine runs on', async () => {
      await source.start(VM, configOf('web'));
      expect(codeOf(await agent.settled(source.send(order())))).toBe('migration_failed');
      await receive();
      expect(codeOf(await target.ask('DestroyDomain', VM, THERE))).toBe('ok');
      expect(codeOf(await agent.settled(source.send(order())))).toBe('migration_failed');
      expect(await source.domain(VM)).toMatchObject({ state: 'running' });
      expect(codeOf(await receive())).toBe('host_stale_incarnation');
    });

    it('refuses a policy of another hypervisor', async () => {
      await ready();
      const foreign = { ...HERE, to: agent.others[0], toIncarnation: 2, operation: OPERATION };
      const policy = traits.asksToSuspend ? 'qemu' : 'xen-v2';
      expect(codeOf(await source.ask('MigrateDomain', VM, { ...foreign, policy }))).toBe('migration_failed');
      expect(codeOf(await agent.settled(source.send(order())))).toBe('ok');
    });

    it('refuses what it can’t do', async () => {
      expect(codeOf(await agent.settled(source.send(order())))).toBe('host_unknown_domain');
      expect(codeOf(await source.ask('CancelMigration', VM, HERE))).toBe('ok');
      expect(codeOf(await target.ask('SettleMigration', VM, THERE))).toBe('migration_failed');
      expect(codeOf(await receive())).toBe('host_stale_incarnation');
      await source.start(VM, configOf('web'), { paused: true });
      expect(codeOf(await agent.settled(source.send(order())))).toBe('migration_failed');
      const said = { ...THERE, from: agent.host, seq: 1, message: { type: 'openMemory' } };
      expect(codeOf(await target.ask('DeliverMigrationMessage', VM, said))).toBe('host_unknown_domain');
      const nonsense = { ...said, message: { type: 'handshake', point: 'north' } };
      expect(codeOf(await target.ask('DeliverMigrationMessage', VM, nonsense))).toBe('command_malformed');
    });
  });
};
