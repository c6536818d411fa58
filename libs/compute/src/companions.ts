import type { Clock, MessageBus } from '@xenolith/kernel';
import { FaultRulePusher } from './fault-rule-pusher.js';
import { HeartbeatMonitor } from './heartbeat-monitor.js';
import { InventoryWatch } from './inventory-watch.js';
import type { ComputeService } from './service.js';

/** What runs beside the engine of the compute service and keeps nothing in the log: it starts after the engine, as it reads its indexes. */
export interface ComputeCompanions {
  readonly monitor: HeartbeatMonitor;
  start(): Promise<void>;
  stop(): Promise<void>;
}

export const computeCompanions = (
  service: ComputeService,
  ports: { readonly bus: MessageBus; readonly clock: Clock },
): ComputeCompanions => {
  const watch = new InventoryWatch(service.computeIndexes, ports);
  const monitor = new HeartbeatMonitor(service.computeIndexes.hosts, ports, (beat) => watch.heard(beat));
  const pusher = new FaultRulePusher(service.computeIndexes, ports);
  return {
    monitor,
    start: async () => {
      await monitor.start();
      pusher.start();
    },
    stop: async () => {
      pusher.stop();
      await monitor.stop();
    },
  };
};
