import { describeEventLog, describeLogPast, startPostgres } from '@xenolith/testing';
import { migrateEventStore, openEventStore, runSequencer } from './index.js';

const open = async () => {
  const postgres = await startPostgres();
  const databaseUrl = await postgres.createDatabase();
  await migrateEventStore(databaseUrl);
  const sequencer = await runSequencer({ databaseUrl });
  const log = await openEventStore({ databaseUrl, name: 'conformance' });
  return {
    log,
    close: async () => {
      await log.close();
      await sequencer.stop();
      await postgres.stop();
    },
  };
};

describeEventLog('in PostgreSQL', open);
describeLogPast('in PostgreSQL', open);
