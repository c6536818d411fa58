import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findWrongs, type Machine } from './audit.js';
import { Callers } from './callers.js';
import { engine, imageOf, lack, needsEngine, PROCESSES } from './engine.js';
import { ContainerPlatform, MEMBERS, SERVERS } from './platform.js';

/** An image that differs from the one that runs, as the next version would. */
const NEXT = 'next';
/** A step that an outage swallowed is sent again after half a minute; a loaded machine takes its time, too. */
const RUNNING_LIMIT_MS = 240_000;

const conditionsOf = ({ conditions = [] }: Machine['status']): string =>
  conditions.map(({ type, status, message }) => `${type} is ${status}: ${message}`).join('; ');

describe('a platform of our images, with Postgres and NATS in containers', () => {
  needsEngine();
  let platform: ContainerPlatform;
  let callers: Callers;

  beforeAll(async () => {
    if (lack !== null) return;
    platform = await ContainerPlatform.start();
    callers = new Callers(platform);
  });
  afterAll(async () => {
    if (lack === null) await platform.down();
  });

  /** A failure shows what the containers said last. */
  const telling = async (body: () => Promise<void>): Promise<void> => {
    try {
      await body();
    } catch (cause) {
      throw await platform.told(cause);
    }
  };

  const allRun = async (): Promise<void> => {
    const waiting = async (): Promise<readonly string[]> =>
      (await platform.items<Machine>('vms'))
        .filter(({ status }) => status.powerState !== 'Running')
        .map(({ metadata, status }) => `${metadata.name}: ${conditionsOf(status)}`);
    await expect.poll(waiting, { timeout: RUNNING_LIMIT_MS, interval: 500 }).toEqual([]);
  };

  it('creates machines through kubectl', () =>
    telling(async () => {
      for (let n = 0; n < 5; n += 1) expect(await callers.createOne()).toMatchObject({ outcome: 'created' });
      await allRun();
      expect(await findWrongs(platform, callers)).toEqual([]);
    }));

  it('sends spans of every process, queries of the database among them', () =>
    telling(async () => {
      const services = async (): Promise<readonly string[]> => Object.keys(await platform.collector.spans()).sort();
      await expect.poll(services, { timeout: RUNNING_LIMIT_MS }).toEqual([...PROCESSES].sort());
      const { compute = [] } = await platform.collector.spans();
      expect(compute.filter((name) => name.startsWith('pg'))).not.toEqual([]);
    }));

  it.each(MEMBERS)('survives that %s is killed, under load', (name) =>
    telling(async () => {
      const member = platform.member(name);
      await callers.during(async () => {
        await member.kill();
        await member.startAgain();
      });
    }),
  );

  it.each(MEMBERS)('survives that %s is stopped, under load, and it ends in good order', (name) =>
    telling(async () => {
      const member = platform.member(name);
      await callers.during(async () => {
        expect(await member.stop()).toBe(0);
        await member.startAgain();
      });
    }),
  );

  /** What shows from outside that a container is cut off; the cut lasts until then. */
  const noticed = {
    compute: async () => expect(await callers.createOne()).toMatchObject({ outcome: 'unknown' }),
    postgres: async () => expect(await callers.createOne()).toMatchObject({ outcome: 'unknown' }),
    agent: () => platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready=Unknown', '--timeout=55s'),
  };

  it.each(['compute', 'postgres', 'agent'] as const)(
    'survives that %s is cut from the network, and joins it again',
    (name) =>
      telling(async () => {
        const member = platform.member(name);
        await callers.during(async () => {
          await member.cut();
          await noticed[name]();
          await member.join();
        });
        await platform.kubectl('wait', 'hosts', '--all', '--for=condition=Ready', '--timeout=55s');
      }),
  );

  it('survives a restart of Postgres and NATS at once', () =>
    telling(async () => {
      await callers.during(async () => {
        await Promise.all(SERVERS.map((name) => platform.member(name).startAgain()));
      });
    }));

  it('changes one service to another image under load, and refuses nobody meanwhile', () =>
    telling(async () => {
      const { container } = await engine();
      const made = await container.dockerode.createContainer({ Image: imageOf('compute') });
      await made.commit({
        repo: 'xenolith/compute',
        tag: NEXT,
        changes: 'LABEL org.opencontainers.image.version=next',
      });
      await made.remove();
      const before = callers.told.length;
      await callers.during(async () => {
        await platform.startProcess('compute', { name: 'compute-next', image: imageOf('compute', NEXT) });
        expect(await platform.member('compute').stop()).toBe(0);
        await platform.remove('compute');
      });
      expect(callers.told.slice(before).filter(({ outcome }) => outcome !== 'created')).toEqual([]);
      await platform.startProcess('compute');
      expect(await platform.member('compute-next').stop()).toBe(0);
      await platform.remove('compute-next');
      await container.dockerode.getImage(imageOf('compute', NEXT)).remove();
    }));

  it('is healthy by the checks of its images', () =>
    telling(async () => {
      const states = async (): Promise<readonly (string | undefined)[]> =>
        Promise.all(PROCESSES.map((name) => platform.member(name).health()));
      await expect.poll(states, { timeout: RUNNING_LIMIT_MS }).toEqual(PROCESSES.map(() => 'healthy'));
    }));

  it('has lost nothing that it acknowledged, and doubled nothing', () =>
    telling(async () => {
      await allRun();
      const machines = await platform.items<Machine>('vms');
      expect(callers.created.length).toBeGreaterThan(MEMBERS.length);
      expect(machines.length).toBeGreaterThanOrEqual(callers.created.length);
      expect(await findWrongs(platform, callers)).toEqual([]);
    }));
});
