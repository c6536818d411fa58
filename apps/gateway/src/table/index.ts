export { parseFieldSelector, type FieldSelector } from './field-selector.js';
export { humanDuration } from './human-duration.js';
export { compileJsonPath, type JsonPath } from './json-path.js';
export { parseLabelSelector, type Selector } from './label-selector.js';
export { negotiate, type Representation } from './media-type.js';
export {
  parseIncludeObject,
  partialObjectMetadata,
  partialObjectMetadataList,
  tableBuilderOf,
  tableOf,
  type IncludeObject,
  type MetaVersion,
  type RowOptions,
  type TableBuilder,
  type TableOptions,
} from './table-rows.js';
