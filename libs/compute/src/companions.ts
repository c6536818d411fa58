import type { Clock, MessageBus } from '@xenolith/kernel';
import { FaultRulePusher } from './fault-rule-pusher.js';
import { HeartbeatMonitor } from './heartbeat-monitor.js';
import { InventoryWatch } from './inventory-watch.js';
import {
  DEFAULT_KEPT_OPERATIONS,
  LONGEST_OPERATION_LIFE_MS,
  OperationSweeper,
  type OperationRetention,
} from './operation-sweeper.js';
import type { ComputeService } from './service.js';

/** What runs beside the engine of the compute service and keeps nothing in the log: it starts after the engine, as it reads its indexes. */
export interface ComputeCompanions {
  readonly monitor: HeartbeatMonitor;
  start(): Promise<void>;
  stop(): Promise<void>;
}

const DEFAULT_RETENTION: OperationRetention = { keep: DEFAULT_KEPT_OPERATIONS, lifeMs: LONGEST_OPERATION_LIFE_MS };

export const computeCompanions = (
  service: ComputeService,
  ports: { readonly bus: MessageBus; readonly clock: Clock },
  retention: OperationRetention = DEFAULT_RETENTION,
): ComputeCompanions => {
  const watch = new InventoryWatch(service.computeIndexes, ports);
  const monitor = new HeartbeatMonitor(service.computeIndexes.hosts, ports, (beat) => watch.heard(beat));
  const pusher = new FaultRulePusher(service.computeIndexes, ports);
  const sweeper = new OperationSweeper(service.computeIndexes.finished, ports, retention);
  return {
    monitor,
    start: async () => {
      await monitor.start();
      pusher.start();
      sweeper.start();
    },
    stop: async () => {
      pusher.stop();
      sweeper.stop();
      await monitor.stop();
    },
  };
};
