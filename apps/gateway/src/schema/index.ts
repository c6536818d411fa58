export { openApiAnswer, swaggerAnswer } from './open-api.js';
export {
  generatedName,
  objectInvalid,
  parseObject,
  type FieldValidation,
  type ParsedObject,
  type ParseOptions,
} from './parse-object.js';
