export { applyObject, type ApplyRequest } from './apply.js';
export { jsonPatch } from './json-patch.js';
export { managedFieldsAfterUpdate, withoutLivePreconditions, type UpdateRecord } from './managed-fields.js';
export { managerName } from './managers.js';
export { mergePatch } from './merge-patch.js';
export { strategicMergePatch } from './strategic-merge-patch.js';
