import type { LoginRefusal } from '../auth/access.js';
import type { EndReason } from '../watch/watch-session.js';
import type { RequestLabels } from './request-labels.js';

/** Where the gateway says what it does; the runtime's log has this shape. */
export interface GatewayLog {
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
}

/** Finished requests and watches, for metrics. */
export interface RequestObserver {
  answered(info: RequestLabels & { readonly code: number; readonly seconds: number }): void;
  watchEnded(reason: EndReason): void;
  loginRefused(refusal: LoginRefusal): void;
}
