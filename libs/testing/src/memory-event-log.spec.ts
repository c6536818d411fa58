import { describeEventLog } from './event-log.conformance.js';
import { MemoryEventLog } from './memory-event-log.js';
import { VirtualClock } from './virtual-clock.js';

describeEventLog('in memory', async () => {
  const log = new MemoryEventLog(new VirtualClock()).connect();
  const close = async (): Promise<void> => {
    log.kill();
    return Promise.resolve();
  };
  return Promise.resolve({ log, close });
});
