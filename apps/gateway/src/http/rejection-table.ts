import type { RejectionCode } from '@xenolith/contracts';
import type { BusFault } from '@xenolith/kernel';
import { type BusFaultKind, type Rejection } from '@xenolith/kernel';
import { StatusError, type NamedKind } from './status.js';

interface HttpMeaning {
  readonly code: number;
  readonly reason: string;
}

const INVALID: HttpMeaning = { code: 422, reason: 'Invalid' };
const CONFLICT: HttpMeaning = { code: 409, reason: 'Conflict' };
const EXISTS: HttpMeaning = { code: 409, reason: 'AlreadyExists' };
const NOT_FOUND: HttpMeaning = { code: 404, reason: 'NotFound' };
const FORBIDDEN: HttpMeaning = { code: 403, reason: 'Forbidden' };
const BAD_REQUEST: HttpMeaning = { code: 400, reason: 'BadRequest' };
const UNAVAILABLE: HttpMeaning = { code: 503, reason: 'ServiceUnavailable' };

/** Refusals that arise in the gateway itself, before a command is sent. */
export type GatewayRejectionCode = 'request_malformed' | 'not_acceptable' | 'apply_conflict';

/** What each refusal is in HTTP: the one place where status codes meet rejection codes. */
export const HTTP_OF_REJECTION: Readonly<Record<RejectionCode | GatewayRejectionCode, HttpMeaning>> = {
  request_malformed: BAD_REQUEST,
  not_acceptable: { code: 406, reason: 'NotAcceptable' },
  apply_conflict: CONFLICT,
  object_invalid: INVALID,
  already_exists: EXISTS,
  not_found: NOT_FOUND,
  version_conflict: CONFLICT,
  precondition_failed: CONFLICT,
  namespace_not_active: FORBIDDEN,
  namespace_protected: FORBIDDEN,
  quota_exceeded: FORBIDDEN,
  quota_not_counted: FORBIDDEN,
  claim_taken: CONFLICT,
  object_in_use: CONFLICT,
  verb_not_supported: { code: 405, reason: 'MethodNotAllowed' },
  command_malformed: BAD_REQUEST,
  command_cancelled: CONFLICT,
  command_id_reused: CONFLICT,
  // A service of another version: it may be there in a moment, while an upgrade rolls out.
  command_unknown: UNAVAILABLE,
  operation_not_allowed: CONFLICT,
  operation_in_progress: CONFLICT,
  operation_unknown: NOT_FOUND,
  operation_not_cancellable: CONFLICT,
  operation_finished: CONFLICT,
  operation_timed_out: { code: 504, reason: 'Timeout' },
  bad_power_state: CONFLICT,
  virtual_machine_stale_incarnation: CONFLICT,
  host_not_ready: CONFLICT,
  host_out_of_memory: CONFLICT,
  host_unknown_domain: NOT_FOUND,
  host_domain_exists: CONFLICT,
  host_domain_unsupported: CONFLICT,
  host_device_failed: CONFLICT,
  host_stale_incarnation: CONFLICT,
  guest_ignored_shutdown: CONFLICT,
  host_crashed: UNAVAILABLE,
  host_in_use: CONFLICT,
  host_powered_off: UNAVAILABLE,
  migration_failed: CONFLICT,
  migration_cancelled: CONFLICT,
  migration_switched: CONFLICT,
  fault_injected: { code: 500, reason: 'InternalError' },
  placement_pending: CONFLICT,
  placement_unknown: NOT_FOUND,
  host_ledger_affinity: CONFLICT,
  host_control_plane_lost: CONFLICT,
  host_lacks_devices: CONFLICT,
  host_ledger_full: CONFLICT,
  storage_domain_full: CONFLICT,
  storage_domain_not_found: INVALID,
  image_not_found: INVALID,
  volume_in_use: CONFLICT,
  volume_not_available: CONFLICT,
  volume_shrink_forbidden: INVALID,
  network_not_found: INVALID,
  network_full: CONFLICT,
  address_taken: CONFLICT,
  address_outside_subnet: INVALID,
  port_in_use: CONFLICT,
  quantity_malformed: INVALID,
};

/** An unknown code is a service newer than this gateway: its message still says what is wrong. */
const UNKNOWN_CODE: HttpMeaning = { code: 500, reason: 'InternalError' };

const meaningOf = (code: string): HttpMeaning =>
  (HTTP_OF_REJECTION as Readonly<Record<string, HttpMeaning | undefined>>)[code] ?? UNKNOWN_CODE;

/** A refusal as the answer to a request about an object. Details of invalid objects name the kind, all others the plural, as Kubernetes does. */
export const statusOfRejection = (
  rejection: Rejection,
  about?: { readonly kind: NamedKind & { readonly kind: string }; readonly name?: string | undefined },
): StatusError => {
  const meaning = meaningOf(rejection.code);
  const named =
    about === undefined
      ? {}
      : {
          ...(about.name === undefined ? {} : { name: about.name }),
          group: about.kind.group,
          kind: meaning.reason === 'Invalid' ? about.kind.kind : about.kind.plural,
        };
  return new StatusError({
    ...meaning,
    message: rejection.message,
    details: {
      ...named,
      ...(rejection.causes === undefined ? {} : { causes: rejection.causes }),
      ...(meaning.code === 503 ? { retryAfterSeconds: 1 } : {}),
    },
  });
};

interface FaultMeaning extends HttpMeaning {
  readonly advice: string;
  readonly retryAfterSeconds: number;
}

const NO_SERVICE = 'the service is starting or down: ask again in a moment, `xenolith status` shows which one';

const HTTP_OF_FAULT: Readonly<Record<BusFaultKind, FaultMeaning>> = {
  timeout: {
    code: 504,
    reason: 'Timeout',
    advice: 'it may have happened or not: read the object before you ask again',
    retryAfterSeconds: 1,
  },
  no_responders: { ...UNAVAILABLE, advice: NO_SERVICE, retryAfterSeconds: 1 },
  disconnected: { ...UNAVAILABLE, advice: NO_SERVICE, retryAfterSeconds: 1 },
  overloaded: {
    code: 503,
    reason: 'ServiceUnavailable',
    advice: 'too much is asked of it at once: ask again',
    retryAfterSeconds: 2,
  },
  fault: { code: 503, reason: 'ServiceUnavailable', advice: 'it failed on our side: ask again', retryAfterSeconds: 2 },
};

/** A command that may or may not have had its effect. */
export const statusOfFault = (fault: BusFault): StatusError => {
  const { code, reason, advice, retryAfterSeconds } = HTTP_OF_FAULT[fault.kind];
  return new StatusError(
    { code, reason, message: `${fault.message}; ${advice}`, details: { retryAfterSeconds } },
    { cause: fault },
  );
};
