export * from './boot.js';
export * from './control.js';
export * from './guest-end.js';
export * from './guest-kind.js';
export * from './workload.js';
