/** The outcome of an operation that may be refused by a rule. Plain data, so that it survives JSON. */
export type Result<Value, Refusal = Rejection> =
  { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly rejection: Refusal };

/** One wrong field of an object: `field` is a path such as `spec.memory.staticMax`. */
export interface FieldCause {
  readonly field: string;
  /** Kubernetes' words: `FieldValueInvalid`, `FieldValueRequired`, `FieldValueNotFound`, `FieldValueForbidden`, ... */
  readonly reason: string;
  readonly message: string;
}

/**
 * A rule said no. `code` is a snake_case word from the contracts' catalogue; `message` says what was asked, what there was,
 * and which rule refused. `details` holds machine-readable arguments, such as an XAPI error code with its arguments.
 */
export interface Rejection {
  readonly code: string;
  readonly message: string;
  readonly causes?: readonly FieldCause[];
  readonly details?: Readonly<Record<string, unknown>>;
}

export const ok = <Value>(value: Value): { readonly ok: true; readonly value: Value } => ({ ok: true, value });

export const reject = (
  code: string,
  message: string,
  more: { causes?: readonly FieldCause[]; details?: Readonly<Record<string, unknown>> } = {},
): { readonly ok: false; readonly rejection: Rejection } => ({ ok: false, rejection: { code, message, ...more } });
