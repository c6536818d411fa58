export * from './cluster.js';
export * from './fault-rule.js';
export * from './host.js';
export * from './operation.js';
export * from './service.js';
export * from './virtual-machine.js';
export * from './virtual-machine.plan.js';
