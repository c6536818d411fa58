import type { StaticAnswer } from '../discovery/static-answer.js';

export {
  generatedName,
  objectInvalid,
  parseObject,
  type FieldValidation,
  type ParsedObject,
  type ParseOptions,
} from './parse-object.js';

/** `/openapi/v3`, `/openapi/v3/api/v1`, `/openapi/v3/apis/<group>/<version>` (without query). Null: no such page (404). */
export type OpenApiAnswer = (path: string) => StaticAnswer | null;
