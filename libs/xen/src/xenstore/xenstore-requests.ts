import { fail, type Errno, type Outcome } from '../outcome.js';
import { parsePermission, type Permission } from './permissions.js';
import { QUOTA_NAMES } from './quota.js';
import type { Xenstore } from './xenstore.js';
import type { Answer, WatchEvent } from './xenstore-answer.js';
import {
  joinStrings,
  MESSAGE_TYPES,
  messageTypeName,
  singleString,
  splitStrings,
  splitWrite,
  WIRE_ERRORS,
  type MessageType,
  type WireMessage,
} from './xenstore-wire.js';

/** The answer to one request, and the events that it caused. */
export interface Served {
  readonly reply: WireMessage;
  readonly events: readonly WatchEvent[];
}

interface Request {
  readonly store: Xenstore;
  readonly domid: number;
  readonly transaction: number;
  readonly payload: string;
}
type Handled = Answer<string>;

const ACKNOWLEDGED = 'OK\0';
const NONE: readonly WatchEvent[] = [];

const asked = <Value>(outcome: Outcome<Value>, payload: (value: Value) => string): Handled => ({
  outcome: outcome.ok ? { ok: true, value: payload(outcome.value) } : outcome,
  events: NONE,
});
const acknowledged = ({ outcome, events }: Answer): Handled => ({
  outcome: outcome.ok ? { ok: true, value: ACKNOWLEDGED } : outcome,
  events,
});
const refused = (errno: Errno): Handled => ({ outcome: fail(errno), events: NONE });
const text = (value: string): string => `${value}\0`;

const onOne =
  (work: (request: Request, argument: string) => Handled) =>
  (request: Request): Handled => {
    const argument = singleString(request.payload);
    return argument === null ? refused('EINVAL') : work(request, argument);
  };

const onDomid = (work: (request: Request, subject: number) => Handled): ((request: Request) => Handled) =>
  onOne((request, argument) => (/^\d{1,5}$/.test(argument) ? work(request, Number(argument)) : refused('EINVAL')));

const onStrings =
  (least: number, most: number, work: (request: Request, strings: readonly string[]) => Handled) =>
  (request: Request): Handled => {
    const strings = splitStrings(request.payload);
    return strings.length < least || strings.length > most ? refused('EINVAL') : work(request, strings);
  };

const permissionsOf = (strings: readonly string[]): readonly Permission[] | null => {
  const list = strings.map(parsePermission);
  return list.every((entry) => entry !== null && !entry.ignored) ? (list as Permission[]) : null;
};

const ANY_NUMBER = Number.MAX_SAFE_INTEGER;

const HANDLERS: Readonly<Partial<Record<MessageType, (request: Request) => Handled>>> = {
  READ: onOne(({ store, domid, transaction }, path) => asked(store.read(domid, path, transaction), (value) => value)),
  DIRECTORY: onOne(({ store, domid, transaction }, path) =>
    asked(store.directory(domid, path, transaction), joinStrings),
  ),
  DIRECTORY_PART: onStrings(2, 2, ({ store, domid, transaction }, [path = '', offset = '']) =>
    asked(store.directoryPart(domid, path, Number.parseInt(offset, 10) || 0, transaction), (part) =>
      joinStrings([String(part.generation), ...part.names, ...(part.complete ? [''] : [])]),
    ),
  ),
  GET_PERMS: onOne(({ store, domid, transaction }, path) =>
    asked(store.getPermissions(domid, path, transaction), (list) =>
      joinStrings(list.map((entry) => `${entry.access}${entry.domid}`)),
    ),
  ),
  SET_PERMS: onStrings(2, ANY_NUMBER, ({ store, domid, transaction }, [path = '', ...strings]) => {
    const list = permissionsOf(strings);
    return list ? acknowledged(store.setPermissions(domid, path, list, transaction)) : refused('EINVAL');
  }),
  WRITE: ({ store, domid, transaction, payload }) => {
    const parts = splitWrite(payload);
    return parts ? acknowledged(store.write(domid, parts.path, parts.value, transaction)) : refused('EINVAL');
  },
  MKDIR: onOne(({ store, domid, transaction }, path) => acknowledged(store.mkdir(domid, path, transaction))),
  RM: onOne(({ store, domid, transaction }, path) => acknowledged(store.rm(domid, path, transaction))),
  WATCH: onStrings(2, 3, ({ store, domid }, [path = '', token = '', depth]) =>
    acknowledged(store.watch(domid, path, token, depth === undefined ? null : Number.parseInt(depth, 10) || 0)),
  ),
  UNWATCH: onStrings(2, ANY_NUMBER, ({ store, domid }, [path = '', token = '']) =>
    asked(store.unwatch(domid, path, token), () => ACKNOWLEDGED),
  ),
  RESET_WATCHES: ({ store, domid }) => asked(store.resetWatches(domid), () => ACKNOWLEDGED),
  TRANSACTION_START: ({ store, domid, transaction }) =>
    transaction === 0 ? asked(store.transactionStart(domid), (id) => text(String(id))) : refused('EBUSY'),
  TRANSACTION_END: onOne(({ store, domid, transaction }, end) =>
    end === 'T' || end === 'F'
      ? acknowledged(store.transactionEnd(domid, transaction, end === 'T' ? 'commit' : 'abort'))
      : refused('EINVAL'),
  ),
  INTRODUCE: onStrings(3, ANY_NUMBER, ({ store, domid }, [subject = '', , port = '']) =>
    acknowledged(store.domains.introduce(domid, Number(subject), Number.parseInt(port, 10) || 0)),
  ),
  RELEASE: onDomid(({ store, domid }, subject) => acknowledged(store.domains.release(domid, subject))),
  RESUME: onDomid(({ store, domid }, subject) => asked(store.domains.resume(domid, subject), () => ACKNOWLEDGED)),
  GET_DOMAIN_PATH: onDomid(({ store }, subject) => asked(store.domains.getDomainPath(subject), text)),
  IS_DOMAIN_INTRODUCED: onDomid(({ store, domid }, subject) =>
    asked(store.domains.isDomainIntroduced(domid, subject), (introduced) => text(introduced ? 'T' : 'F')),
  ),
  SET_TARGET: onStrings(2, ANY_NUMBER, ({ store, domid }, [subject = '', target = '']) =>
    asked(store.domains.setTarget(domid, Number(subject), Number(target)), () => ACKNOWLEDGED),
  ),
  GET_FEATURE: onStrings(0, 1, ({ store, domid }, [subject]) =>
    asked(store.domains.getFeature(domid, subject === undefined ? null : Number(subject)), (bits) =>
      text(String(bits)),
    ),
  ),
  SET_FEATURE: onStrings(2, 2, ({ store, domid }, [subject = '', bits = '']) =>
    asked(store.domains.setFeature(domid, Number(subject), Number.parseInt(bits, 10) || 0), () => ACKNOWLEDGED),
  ),
  GET_QUOTA: onStrings(0, 2, ({ store, domid }, strings) => {
    const name = strings.at(-1);
    if (name === undefined)
      return domid === 0
        ? asked({ ok: true, value: QUOTA_NAMES }, (names) => text(names.join(' ')))
        : refused('EACCES');
    const subject = strings.length === 2 ? Number(strings[0]) : null;
    return asked(store.domains.getQuota(domid, name, subject), (value) => text(String(value)));
  }),
  SET_QUOTA: onStrings(2, 3, ({ store, domid }, strings) => {
    const [value = '', name = '', subject] = strings.toReversed();
    const holder = subject === undefined ? null : Number(subject);
    return asked(store.domains.setQuota(domid, name, Number(value), holder), () => ACKNOWLEDGED);
  }),
};

const wireError = (errno: Errno): string => ((WIRE_ERRORS as readonly Errno[]).includes(errno) ? errno : 'EINVAL');

/** Answers one request of a domain as the daemon would put it on the wire. CONTROL has no commands here and answers ENOSYS. */
export const serve = (store: Xenstore, domid: number, request: WireMessage): Served => {
  const { type, requestId, transactionId, payload } = request;
  const name = messageTypeName(type);
  const handler = name && HANDLERS[name];
  const { outcome, events } = handler
    ? handler({ store, domid, transaction: transactionId, payload })
    : refused('ENOSYS');
  const reply = outcome.ok
    ? { type, requestId, transactionId, payload: outcome.value }
    : { type: MESSAGE_TYPES.ERROR, requestId, transactionId, payload: text(wireError(outcome.errno)) };
  return { reply, events };
};

/** The message that tells a domain of an event. */
export const eventMessage = ({ path, token }: WatchEvent): WireMessage => ({
  type: MESSAGE_TYPES.WATCH_EVENT,
  requestId: 0,
  transactionId: 0,
  payload: joinStrings([path, token]),
});
