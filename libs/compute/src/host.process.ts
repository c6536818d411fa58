import { agentSubject, commandSubject, examineDomainAnswer } from '@xenolith/contracts';
import type { Dispatch, DispatchOutcome, ProcessDefinition } from '@xenolith/engine';
import { uuidFrom, type JsonObject, type Uuid } from '@xenolith/kernel';
import type { HostState, PresentHost, StrayDomain } from './host.state.js';

const EXAMINE_MS = 15_000;
const DESTROY_MS = 30_000;

interface StrayKey {
  readonly phase: StrayDomain['phase'];
  readonly virtualMachine: Uuid;
  readonly incarnation: number;
  readonly host: string;
}

const keyOf = (key: StrayKey): string => JSON.stringify([key.phase, key.virtualMachine, key.incarnation, key.host]);

const parseKey = (text: string): StrayKey => {
  const [phase, virtualMachine, incarnation, host] = JSON.parse(text) as [StrayDomain['phase'], Uuid, number, string];
  return { phase, virtualMachine, incarnation, host };
};

/** First the machine itself is asked, as an inventory may be older than what its stream says; then the domain is destroyed where it is. */
const dispatchOf = (host: PresentHost, stray: StrayDomain): Dispatch => {
  const { virtualMachine, incarnation, phase } = stray;
  const data = { incarnation };
  const common = {
    key: keyOf({ phase, virtualMachine, incarnation, host: host.meta.name }),
    commandId: uuidFrom(host.meta.uid, 'stray', stray.seen, virtualMachine, incarnation, phase),
    streamId: virtualMachine,
  };
  return phase === 'examining'
    ? {
        ...common,
        subject: commandSubject('compute', 'ExamineDomain'),
        type: 'ExamineDomain',
        data: { ...data, host: host.meta.name },
        timeoutMs: EXAMINE_MS,
      }
    : {
        ...common,
        subject: agentSubject(host.meta.name, 'DestroyDomain'),
        type: 'DestroyDomain',
        data,
        timeoutMs: DESTROY_MS,
      };
};

/** A domain is wanted if it is a run of the machine that is known to be on this host, or that is still on its way to some host. */
const isStray = (key: StrayKey, answer: JsonObject): boolean =>
  !examineDomainAnswer
    .parse(answer)
    .runs.some(({ incarnation, host }) => incarnation === key.incarnation && (host === null || host === key.host));

const record = (dispatch: Dispatch, outcome: DispatchOutcome): { type: string; data: JsonObject } | null => {
  if (outcome.kind === 'fault') return null;
  const key = parseKey(dispatch.key);
  const run = { virtualMachine: key.virtualMachine, incarnation: key.incarnation };
  // A host that refuses to destroy a domain has said all that it will; the next inventory shows what is left.
  if (key.phase === 'destroying') return { type: 'RecordStrayDomainDestroyed', data: run };
  const stray = !outcome.reply.ok || isStray(key, outcome.reply.value);
  return { type: 'RecordStrayDomainExamined', data: { ...run, stray } };
};

/** Destroys the domains on a host that nobody expects there. */
export const strayDomainProcess: ProcessDefinition = {
  name: 'stray-domains',
  category: 'host',
  isActive: (document) => (document['status'] as { strayDomains?: number } | undefined)?.strayDomains !== undefined,
  due: (state) => {
    const host = state as HostState;
    if (host.phase !== 'present') return { dispatches: [], wakeAt: null };
    return { dispatches: host.own.strays.map((stray) => dispatchOf(host, stray)), wakeAt: null };
  },
  record,
};
