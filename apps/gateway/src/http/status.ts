import type { FieldCause, JsonObject } from '@xenolith/kernel';

/** What a failure is about, as Kubernetes' `StatusDetails` has it. */
export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly FieldCause[];
  readonly retryAfterSeconds?: number;
}

export interface StatusSource {
  readonly code: number;
  readonly reason: string;
  readonly message: string;
  readonly details?: StatusDetails;
}

/**
 * A request that ends in a `Status`. It is thrown, as Nest does with its own exceptions: this is the outermost edge, and every refusal of the inside has
 * been a value up to here.
 */
export class StatusError extends Error {
  override readonly name = 'StatusError';

  constructor(
    readonly source: StatusSource,
    options?: { readonly cause?: unknown },
  ) {
    super(source.message, options);
  }

  get code(): number {
    return this.source.code;
  }

  get body(): JsonObject {
    return statusBody(this.source);
  }
}

const statusDetails = ({ causes, ...details }: StatusDetails): JsonObject => ({
  ...details,
  ...(causes === undefined ? {} : { causes: causes.map(({ field, reason, message }) => ({ reason, message, field })) }),
});

export const statusBody = (source: StatusSource): JsonObject => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Failure',
  message: source.message,
  reason: source.reason,
  ...(source.details === undefined ? {} : { details: statusDetails(source.details) }),
  code: source.code,
});

export const successBody = (details: StatusDetails): JsonObject => ({
  kind: 'Status',
  apiVersion: 'v1',
  metadata: {},
  status: 'Success',
  details: statusDetails(details),
});

/** A kind as details name it: by its plural. */
export interface NamedKind {
  readonly group: string;
  readonly plural: string;
}

export const resourceName = (kind: NamedKind): string =>
  kind.group === '' ? kind.plural : `${kind.plural}.${kind.group}`;

export const badRequest = (message: string): StatusError =>
  new StatusError({ code: 400, reason: 'BadRequest', message });

export const notFoundPath = (): StatusError =>
  new StatusError({
    code: 404,
    reason: 'NotFound',
    message: 'the server could not find the requested resource; see /api and /apis for what there is',
    details: {},
  });

export const notFoundObject = (kind: NamedKind, name: string): StatusError =>
  new StatusError({
    code: 404,
    reason: 'NotFound',
    message: `${resourceName(kind)} "${name}" not found`,
    details: { name, group: kind.group, kind: kind.plural },
  });

export const conflict = (kind: NamedKind, name: string, why: string): StatusError =>
  new StatusError({
    code: 409,
    reason: 'Conflict',
    message: `Operation cannot be fulfilled on ${resourceName(kind)} "${name}": ${why}`,
    details: { name, group: kind.group, kind: kind.plural },
  });

export const MODIFIED_MEANWHILE =
  'the object has been modified; please apply your changes to the latest version and try again';

export const expired = (message: string): StatusError => new StatusError({ code: 410, reason: 'Expired', message });

export const methodNotAllowed = (message: string): StatusError =>
  new StatusError({ code: 405, reason: 'MethodNotAllowed', message, details: {} });

export const unavailable = (message: string, cause?: unknown): StatusError =>
  new StatusError({ code: 503, reason: 'ServiceUnavailable', message, details: { retryAfterSeconds: 1 } }, { cause });

export const timedOut = (message: string): StatusError =>
  new StatusError({ code: 504, reason: 'Timeout', message, details: { retryAfterSeconds: 1 } });

/** A resourceVersion that the log has not reached: clients know it by this cause. */
export const tooLargeResourceVersion = (asked: number, reached: number): StatusError =>
  new StatusError({
    code: 504,
    reason: 'Timeout',
    message: `Too large resource version: ${asked}, current: ${reached}; try again in a moment`,
    details: {
      causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version', field: '' }],
      retryAfterSeconds: 1,
    },
  });
