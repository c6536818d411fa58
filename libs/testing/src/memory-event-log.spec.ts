import { describeEventLog } from './event-log.conformance.js';
import { describeLogPast } from './log-past.conformance.js';
import { MemoryEventLog } from './memory-event-log.js';
import { VirtualClock } from './virtual-clock.js';

const open = async () => {
  const log = new MemoryEventLog(new VirtualClock()).connect();
  const close = async (): Promise<void> => {
    log.kill();
    return Promise.resolve();
  };
  return Promise.resolve({ log, close });
};

describeEventLog('in memory', open);
describeLogPast('in memory', open);
