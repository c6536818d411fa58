export { discoveryAnswer, versionPage } from './discovery-pages.js';
export { HOST_METRICS, MACHINE_METRICS, metricsKindOf, type MetricsKind } from './metrics-kinds.js';
export { REVIEW_KINDS } from './review-kinds.js';
export { ANSWERED_KINDS, findServedKind, isPastSubresource, SERVED_KINDS } from './served-kinds.js';
export { OPERATION_REFERENCE, type ServedColumn, type ServedKind, type Subresource, type Verb } from './served-kind.js';
export { staticAnswer, type StaticAnswer } from './static-answer.js';
