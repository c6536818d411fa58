export { discoveryAnswer, versionPage } from './discovery-pages.js';
export { findServedKind, SERVED_KINDS } from './served-kinds.js';
export { OPERATION_REFERENCE, type ServedColumn, type ServedKind, type Subresource, type Verb } from './served-kind.js';
export { staticAnswer, type StaticAnswer } from './static-answer.js';
