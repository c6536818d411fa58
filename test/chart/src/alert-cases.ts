/** What promtool is shown for one alert: nothing wrong at first, then a fault, then recovery. */
export interface AlertCase {
  readonly alert: string;
  /** Series in promtool's notation, a value each half minute. */
  readonly series: Readonly<Record<string, string>>;
  /** Before the fault, or while it is too young to be told. */
  readonly quiet: readonly string[];
  readonly fires: string;
  /** What the firing alert is about, beside its severity. */
  readonly labels: Readonly<Record<string, string>>;
  readonly cleared: string;
}

const SERVICES = ['gateway', 'compute', 'storage', 'network', 'scheduler', 'agent'] as const;
const present = Object.fromEntries(
  SERVICES.map((service) => [
    `xenolith_build_info{service="${service}",instance="${service}-0",version="0.1.0"}`,
    '1x60',
  ]),
);
const STORAGE = 'xenolith_build_info{service="storage",instance="storage-0",version="0.1.0"}';
const FOLLOWER = 'service="compute",instance="compute-0",follower="reaction-a"';
const REQUESTS = 'xenolith_api_request_seconds';
const OF_GATEWAY = 'service="gateway",instance="gateway-0"';
const DELAYS = `xenolith_log_delay_seconds_bucket{${OF_GATEWAY},follower="gateway-gateway-0-documents"`;
const PLACEMENTS = 'service="scheduler",instance="scheduler-0",type="PlaceVirtualMachine"';

export const ALERT_CASES: readonly AlertCase[] = [
  {
    alert: 'XenolithServiceMissing',
    series: { ...present, [STORAGE]: '1x9 stale _x19 1x30' },
    quiet: ['4m', '5m30s'],
    fires: '7m',
    labels: { service: 'storage' },
    cleared: '20m',
  },
  {
    alert: 'XenolithProcessNotReady',
    series: { 'xenolith_ready{service="compute",instance="compute-0",check="nats",pod="a"}': '1x9 0x9 1x9' },
    quiet: ['4m', '6m'],
    fires: '8m',
    labels: { service: 'compute', instance: 'compute-0', check: 'nats' },
    cleared: '11m',
  },
  {
    alert: 'XenolithProcessRestarts',
    series: { 'process_start_time_seconds{service="compute",instance="compute-0"}': '100x9 200 200 300 400x60' },
    quiet: ['4m', '5m30s'],
    fires: '7m',
    labels: { service: 'compute', instance: 'compute-0' },
    cleared: '25m',
  },
  {
    alert: 'XenolithDefects',
    series: { 'xenolith_defects_total{service="compute",instance="compute-0"}': '0x9 1x60' },
    quiet: ['4m'],
    fires: '6m',
    labels: { service: 'compute', instance: 'compute-0' },
    cleared: '20m',
  },
  {
    alert: 'XenolithApiFaults',
    series: {
      [`${REQUESTS}_count{${OF_GATEWAY},verb="get",resource="hosts",code="200"}`]: '0+100x60',
      [`${REQUESTS}_count{${OF_GATEWAY},verb="get",resource="hosts",code="404"}`]: '0+100x60',
      [`${REQUESTS}_count{${OF_GATEWAY},verb="patch",resource="hosts",code="503"}`]: '0x9 0+20x10 200x40',
    },
    quiet: ['4m', '6m'],
    fires: '9m',
    labels: {},
    cleared: '20m',
  },
  {
    alert: 'XenolithApiSlow',
    series: {
      [`${REQUESTS}_bucket{${OF_GATEWAY},verb="get",resource="hosts",code="200",le="0.1"}`]: '0+100x70',
      [`${REQUESTS}_bucket{${OF_GATEWAY},verb="get",resource="hosts",code="200",le="10"}`]: '0+100x70',
      [`${REQUESTS}_bucket{${OF_GATEWAY},verb="get",resource="hosts",code="200",le="+Inf"}`]: '0+100x70',
      [`${REQUESTS}_bucket{${OF_GATEWAY},verb="patch",resource="hosts",code="200",le="0.1"}`]:
        '0+100x9 900x30 900+100x40',
      [`${REQUESTS}_bucket{${OF_GATEWAY},verb="patch",resource="hosts",code="200",le="10"}`]: '0+100x80',
      [`${REQUESTS}_bucket{${OF_GATEWAY},verb="patch",resource="hosts",code="200",le="+Inf"}`]: '0+100x80',
    },
    quiet: ['4m', '12m'],
    fires: '19m',
    labels: { verb: 'patch' },
    cleared: '28m',
  },
  {
    alert: 'XenolithWatchesLate',
    series: {
      [`${DELAYS},le="0.1"}`]: '0+100x9 900x19 900+100x40',
      [`${DELAYS},le="10"}`]: '0+100x80',
      [`${DELAYS},le="+Inf"}`]: '0+100x80',
    },
    quiet: ['4m', '8m'],
    fires: '13m',
    labels: { instance: 'gateway-0' },
    cleared: '22m',
  },
  {
    alert: 'XenolithWatchersCut',
    series: {
      [`xenolith_api_watches_ended_total{${OF_GATEWAY},reason="slow"}`]: '0x9 2x60',
      [`xenolith_api_watches_ended_total{${OF_GATEWAY},reason="closed"}`]: '0+5x80',
    },
    quiet: ['4m'],
    fires: '6m',
    labels: { instance: 'gateway-0' },
    cleared: '20m',
  },
  {
    alert: 'XenolithFileRefused',
    series: { [`xenolith_api_file_refused{${OF_GATEWAY},file="tokens"}`]: '0x9 1x9 0x9' },
    quiet: ['4m', '5m'],
    fires: '7m',
    labels: { instance: 'gateway-0', file: 'tokens' },
    cleared: '11m',
  },
  {
    alert: 'XenolithCommandFaults',
    series: {
      'xenolith_request_seconds_count{service="compute",instance="compute-0",type="ProvisionVolume",outcome="ok"}':
        '0+10x80',
      'xenolith_request_seconds_count{service="compute",instance="compute-0",type="ProvisionVolume",outcome="rejected"}':
        '0+10x80',
      'xenolith_request_seconds_count{service="compute",instance="compute-0",type="ProvisionVolume",outcome="timeout"}':
        '0x9 0+5x10 50x40',
      'xenolith_request_seconds_count{service="compute",instance="compute-0",type="ProvisionPort",outcome="ok"}':
        '0+10x80',
    },
    quiet: ['4m', '6m'],
    fires: '9m',
    labels: { type: 'ProvisionVolume' },
    cleared: '20m',
  },
  {
    alert: 'XenolithSequencerStopped',
    series: {
      'xenolith_sequencer_held{service="compute",instance="compute-0"}': '1x9 stale _x9 0x40',
      'xenolith_sequencer_held{service="storage",instance="storage-0"}': '0x19 1x40',
      'xenolith_sequencer_lag_seconds{service="storage",instance="storage-0"}': '0x60',
    },
    quiet: ['4m', '5m'],
    fires: '6m30s',
    labels: {},
    cleared: '12m',
  },
  {
    alert: 'XenolithFeedBroken',
    series: { 'xenolith_relay_broken{service="compute",instance="compute-0"}': '0x9 1x9 0x9' },
    quiet: ['4m', '5m30s'],
    fires: '7m',
    labels: {},
    cleared: '11m',
  },
  {
    alert: 'XenolithFollowerStuck',
    series: {
      [`xenolith_log_lag_events{${FOLLOWER}}`]: '0x9 3x29 0x30',
      [`xenolith_log_delay_seconds_count{${FOLLOWER}}`]: '0+1x9 9x29 10+1x30',
      // Busy, and never quite at the end of the log: it works.
      'xenolith_log_lag_events{service="compute",instance="compute-0",follower="busy"}': '5x80',
      'xenolith_log_delay_seconds_count{service="compute",instance="compute-0",follower="busy"}': '0+9x80',
    },
    quiet: ['4m', '9m'],
    fires: '15m',
    labels: { service: 'compute', instance: 'compute-0', follower: 'reaction-a' },
    cleared: '22m',
  },
  {
    alert: 'XenolithFollowerBehind',
    series: { [`xenolith_log_lag_events{${FOLLOWER}}`]: '0x9 20000x19 20x30' },
    quiet: ['4m', '9m'],
    fires: '12m',
    labels: { service: 'compute', instance: 'compute-0', follower: 'reaction-a' },
    cleared: '17m',
  },
  {
    alert: 'XenolithTimersOverdue',
    series: {
      'xenolith_timers_overdue_seconds{service="compute",instance="compute-0"}': '0x9 0+30x9 0x30',
      'xenolith_timers_overdue_seconds{service="storage",instance="storage-0"}': '0x9 0+30x9 0x30',
    },
    quiet: ['4m', '6m'],
    fires: '8m30s',
    labels: {},
    cleared: '12m',
  },
  {
    alert: 'XenolithProcessBacklog',
    series: {
      'xenolith_process_steps_waiting{service="compute",instance="compute-0",process="operations"}': '0x9 40x19 0x30',
      'xenolith_process_steps_waiting{service="compute",instance="compute-1",process="operations"}': '0x60',
    },
    quiet: ['4m', '9m'],
    fires: '11m',
    labels: { process: 'operations' },
    cleared: '16m',
  },
  {
    alert: 'XenolithOperationNeedsOperator',
    series: {
      'xenolith_operations{service="compute",instance="compute-0",phase="NeedsOperator"}': '0x9 2x9 0x9',
      'xenolith_operations{service="compute",instance="compute-1",phase="NeedsOperator"}': '0x9 2x9 0x9',
      'xenolith_operations{service="compute",instance="compute-0",phase="Running"}': '7x40',
    },
    quiet: ['4m'],
    fires: '6m',
    labels: {},
    cleared: '11m',
  },
  {
    alert: 'XenolithHostsNotReady',
    series: {
      'xenolith_hosts{service="compute",instance="compute-0",condition="not_ready"}': '0x9 1x9 0x9',
      'xenolith_hosts{service="compute",instance="compute-0",condition="ready"}': '4x9 3x9 4x9',
    },
    quiet: ['4m', '5m30s'],
    fires: '7m',
    labels: {},
    cleared: '11m',
  },
  {
    alert: 'XenolithAgentUnheard',
    series: { 'xenolith_agent_unanswered{service="agent",instance="agent-0"}': '0x9 3x9 0x9' },
    quiet: ['4m', '6m30s'],
    fires: '8m',
    labels: { instance: 'agent-0' },
    cleared: '11m',
  },
  {
    alert: 'XenolithPlacementsPending',
    series: {
      'xenolith_placements{service="scheduler",instance="scheduler-0",phase="pending"}': '0x9 2x39 0x20',
      'xenolith_placements{service="scheduler",instance="scheduler-0",phase="placed"}': '9x80',
    },
    quiet: ['4m', '15m'],
    fires: '21m',
    labels: {},
    cleared: '26m',
  },
  {
    alert: 'XenolithClusterNearlyFull',
    series: {
      'xenolith_cluster_memory_bytes{service="scheduler",instance="scheduler-0",cluster="a"}': '100x80',
      'xenolith_cluster_reserved_memory_bytes{service="scheduler",instance="scheduler-0",cluster="a"}':
        '50x9 95x29 50x30',
      // A cluster without hosts is not full.
      'xenolith_cluster_memory_bytes{service="scheduler",instance="scheduler-0",cluster="b"}': '0x80',
      'xenolith_cluster_reserved_memory_bytes{service="scheduler",instance="scheduler-0",cluster="b"}': '0x80',
    },
    quiet: ['4m', '14m'],
    fires: '16m',
    labels: { cluster: 'a' },
    cleared: '21m',
  },
  {
    alert: 'XenolithPlacementConflicts',
    series: {
      [`xenolith_decisions_total{${PLACEMENTS},outcome="accepted",code=""}`]: '0+100x80',
      [`xenolith_decision_retries_total{${PLACEMENTS},reason="host_ledger_full"}`]: '0+1x9 9+50x30 1509+1x40',
    },
    quiet: ['4m', '12m'],
    fires: '18m',
    labels: {},
    cleared: '28m',
  },
];
