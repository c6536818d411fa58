import { connect, type NatsConnection } from '@nats-io/transport-node';
import type { LoggedEvent, StoredEvent, Uuid } from '@xenolith/kernel';
import { startNats, startPostgres, type TestPostgres, type TestServer } from '@xenolith/testing';
import pg from 'pg';
import { afterAll, beforeAll, expect } from 'vitest';
import { migrateEventStore } from './index.js';

/** Waits that depend on other processes of a busy machine end by then. */
export const PATIENCE = { timeout: 30_000, interval: 5 };

export interface Testbed {
  readonly postgres: TestPostgres;
  readonly natsServer: TestServer;
  /** A migrated database of its own. */
  newDatabase(): Promise<string>;
  /** Connections without our guards; closed at the end. */
  adminPool(databaseUrl: string): pg.Pool;
  connectNats(): Promise<NatsConnection>;
}

/** Servers for the tests of a file. */
export const useTestbed = (): (() => Testbed) => {
  const closing: (() => Promise<unknown>)[] = [];
  let testbed: Testbed | undefined;
  beforeAll(async () => {
    const [postgres, natsServer] = await Promise.all([startPostgres(), startNats()]);
    testbed = {
      postgres,
      natsServer,
      newDatabase: async () => {
        const url = await postgres.createDatabase();
        await migrateEventStore(url);
        return url;
      },
      adminPool: (databaseUrl) => {
        const pool = new pg.Pool({ connectionString: databaseUrl, application_name: 'admin', max: 5 });
        pool.on('error', () => undefined);
        closing.push(() => pool.end());
        return pool;
      },
      connectNats: async () => {
        const nats = await connect({ servers: natsServer.url, reconnectTimeWait: 50, maxReconnectAttempts: -1 });
        closing.push(() => nats.close());
        return nats;
      },
    };
  });
  afterAll(async () => {
    await Promise.all(closing.map((close) => close()));
    await Promise.all([testbed?.postgres.stop(), testbed?.natsServer.stop()]);
  });
  return () => {
    if (!testbed) throw new Error('the testbed is not up');
    return testbed;
  };
};

/** Positions from 1 without gaps, no event twice, each stream's versions from 1 in order. */
export const expectSound = (events: readonly LoggedEvent[]): void => {
  expect(events.map(({ position }) => position)).toEqual(events.map((_, index) => index + 1));
  expect(new Set(events.map(({ eventId }) => eventId)).size).toBe(events.length);
  const versions = new Map<Uuid, number>();
  for (const { streamId, version } of events) {
    expect(version).toBe((versions.get(streamId) ?? 0) + 1);
    versions.set(streamId, version);
  }
};

/** Every event that is stored, by brute force. */
export const storedEventIds = async (pool: pg.Pool): Promise<ReadonlySet<Uuid>> => {
  const { rows } = await pool.query<{ event_id: Uuid }>('select event_id from es.events');
  return new Set(rows.map((row) => row.event_id));
};

/** What a fold over the events sees: without positions and documents. */
export const plain = ({ position: _position, document: _document, ...event }: LoggedEvent): StoredEvent => event;
