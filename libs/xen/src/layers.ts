/** Layers that are of use by themselves, for who measures or embeds one without a host around it. */
export { createXenstore, NO_TRANSACTION, Xenstore } from './xenstore/index.js';
export {
  beginSource,
  beginTarget,
  stepSource,
  stepTarget,
  type MigrationEffect,
  type MigrationMessage,
  type SourceState,
  type TargetState,
} from './migration/index.js';
