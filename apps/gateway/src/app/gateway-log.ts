/** Where the gateway says what it does; the runtime's log has this shape. */
export interface GatewayLog {
  info(fields: Record<string, unknown>, message: string): void;
  warn(fields: Record<string, unknown>, message: string): void;
  error(fields: Record<string, unknown>, message: string): void;
}

/** One finished request, for metrics. */
export interface RequestObserver {
  answered(info: { readonly method: string; readonly code: number; readonly seconds: number }): void;
}
