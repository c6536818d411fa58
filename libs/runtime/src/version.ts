/** What this is; the chart's appVersion is the same. */
export const VERSION = '0.1.0';
