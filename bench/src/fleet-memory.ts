import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Agent, type Journal, type TextPacker } from '@xenolith/agent';
import { agentSubject, commandSubject, domainConfig, hostNames } from '@xenolith/contracts';
import { ok, uuidFrom, type JsonObject, type MessageBus } from '@xenolith/kernel';
import { MemoryBus, VirtualClock } from '@xenolith/testing';
import { limitRow, progress, shareRow, type Row } from './report.js';

const GIBIBYTE = 2 ** 30;
/** DESIGN's share for the emulated hosts of 10,000 with 100,000 domains. */
const LIMIT_GIB = 1.2;
const FULL_HOSTS = 10_000;
const DOMAINS_PER_HOST = 10;
/** Loads code and fills caches, which cost once. */
const WARM_UP_HOSTS = 20;
/** Three fleets show whether memory grows in a line with the hosts. */
const FLEETS = [100, 200, 400] as const;
/** How far the slopes between them may differ before they say nothing of more hosts. */
const LINEAR_WITHIN = 0.1;
/** Until idle hosts are put away and the answers to commands are forgotten. */
const REST_MS = 20 * 60_000;
const COMMAND_MS = 600_000;
const AT_ONCE = 64;
const BATCH_MS = 2_000;

/** The agent's own packing, which its app does. */
const packer: TextPacker = {
  pack: (text) => deflateRawSync(text, { level: 1 }).toString('base64'),
  unpack: (packed) => inflateRawSync(Buffer.from(packed, 'base64')).toString(),
};

/** A journal that keeps nothing: what a disk holds is no memory of the process. */
const nowhere: Journal = {
  read: async function* () {},
  append: () => Promise.resolve(),
  compact: () => Promise.resolve(),
};

setFlagsFromString('--expose_gc');
const collect = runInNewContext('gc') as () => void;

const usedBytes = (): number => {
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

const configOf = (name: string): JsonObject =>
  domainConfig.parse({
    name,
    namespace: 'default',
    guestType: 'pvh',
    vcpus: 2,
    maxVcpus: 2,
    weight: 256,
    cap: 0,
    pin: '',
    staticMaxBytes: GIBIBYTE,
    dynamicMinBytes: GIBIBYTE,
    dynamicMaxBytes: GIBIBYTE,
    disks: [
      { name: 'root', volume: uuidFrom('volume', name), sizeBytes: 10 * GIBIBYTE, readOnly: false, fencingToken: 1 },
    ],
    nics: [
      { name: 'eth0', port: uuidFrom('port', name), mac: '00:16:3e:00:00:01', ips: ['10.0.0.2'], bridge: 'xenbr0' },
    ],
    guest: { os: 'linux', pvDrivers: true, ignoresShutdown: false },
    onPoweroff: 'destroy',
    onReboot: 'restart',
    onCrash: 'destroy',
  });

const start = (bus: MessageBus, host: string, nth: number): Promise<unknown> => {
  const uid = uuidFrom('bench', host, nth);
  const commandId = uuidFrom('start', uid);
  const data = { incarnation: 1, paused: false, config: configOf(`vm-${host}-${nth}`) };
  return bus.request(
    agentSubject(host, 'StartDomain'),
    {
      commandId,
      type: 'StartDomain',
      streamId: uid,
      data,
      actor: 'bench',
      correlationId: commandId,
      causationId: commandId,
      at: 0,
    },
    { timeoutMs: COMMAND_MS },
  );
};

/** Memory that an agent of so many hosts needs when it rests, and how many domains it runs. */
const measure = async (hosts: number): Promise<{ readonly bytes: number; readonly domains: number }> => {
  progress(`memory of ${hosts} hosts with ${hosts * DOMAINS_PER_HOST} domains`);
  const clock = new VirtualClock();
  const network = new MemoryBus(clock);
  const bus = network.connect('bench');
  await bus.serve(commandSubject('compute', 'RegisterHost'), () => Promise.resolve(ok({})));
  const before = usedBytes();
  const names = hostNames(hosts);
  const agent = new Agent(
    { hosts: names, seed: 'bench', profile: '2x8-128', bootTimeMs: 0, agentVersion: '0.1.0' },
    { bus: network.connect('agent'), clock, journal: nowhere, packer },
  );
  await agent.start();
  for (let first = 0; first < hosts; first += AT_ONCE) {
    const asked = Promise.all(
      names
        .slice(first, first + AT_ONCE)
        .flatMap((host) => Array.from({ length: DOMAINS_PER_HOST }, (_, nth) => start(bus, host, nth))),
    );
    let answered = false;
    void asked.finally(() => (answered = true));
    await clock.advanceUntil(() => answered, COMMAND_MS);
    await asked;
    // Those that rest already are put away while others start, as in a fleet that grows.
    await clock.advance(BATCH_MS);
  }
  const { domains } = agent;
  await clock.advance(REST_MS);
  const bytes = usedBytes() - before;
  await agent.stop();
  return { bytes, domains };
};

const bytesOf = async (hosts: number): Promise<number> => {
  const { bytes, domains } = await measure(hosts);
  if (domains !== hosts * DOMAINS_PER_HOST) throw new Error(`${domains} domains run on ${hosts} hosts`);
  return bytes;
};

const totalRow = (group: string, bytes: number, how: string): Row =>
  limitRow({
    group,
    what: `memory of ${FULL_HOSTS} hosts, ${FULL_HOSTS * DOMAINS_PER_HOST} domains${how}`,
    ours: bytes / GIBIBYTE,
    unit: 'GiB',
    limit: LIMIT_GIB,
  });

/** Rows of the fleet's memory; by `--full` of all 10,000 hosts, else of fewer, and scaled only where it grows in a line. */
export const benchFleetMemory = async (group: string): Promise<readonly Row[]> => {
  if (process.argv.includes('--full')) {
    await measure(WARM_UP_HOSTS);
    return [totalRow(group, await bytesOf(FULL_HOSTS), '')];
  }
  await measure(WARM_UP_HOSTS);
  const [few, some, many] = FLEETS;
  const bytes = { few: await bytesOf(few), some: await bytesOf(some), many: await bytesOf(many) };
  const slope = (bytes.many - bytes.some) / (many - some);
  const before = (bytes.some - bytes.few) / (some - few);
  const what = `memory for each host with ${DOMAINS_PER_HOST} domains, of ${many}`;
  const rows = [shareRow({ group, what, ours: slope / 1024, unit: 'KiB', whole: bytes.many / 1024 })];
  const kib = (value: number): string => `${Math.round(value / 1024)} KiB`;
  if (Math.abs(slope - before) > LINEAR_WITHIN * slope) {
    progress(`it does not grow in a line (${kib(before)} a host, then ${kib(slope)}): not scaled; --full measures it`);
    return rows;
  }
  const scaled = bytes.many + slope * (FULL_HOSTS - many);
  progress(`it grows in a line (${kib(before)} a host, then ${kib(slope)}): scaled to ${FULL_HOSTS}`);
  return [...rows, totalRow(group, scaled, `, scaled from ${many}`)];
};
