export * from './served-kinds.js';
export * from './static-answer.js';

import type { StaticAnswer } from './static-answer.js';

/**
 * Discovery under `/api`, `/api/v1`, `/apis`, `/apis/<group>` and `/apis/<group>/<version>`; aggregated discovery on `/api` and `/apis` when
 * `accept` asks for it. `path` has no query and no trailing slash. Null: no such page (404).
 */
export type DiscoveryAnswer = (path: string, accept: string | undefined) => StaticAnswer | null;
