import { ok, reject, type Result } from '@xenolith/kernel';
import type { MetaVersion } from './table-rows.js';

/** What the client wants to see. */
export interface Representation {
  readonly as: 'Object' | 'Table' | 'PartialObjectMetadata' | 'PartialObjectMetadataList';
  /** Of `meta.k8s.io`. */
  readonly version: MetaVersion;
  /** The `Content-Type` of the answer. */
  readonly contentType: string;
}

/** One clause of an `Accept` header: media type and parameters, all in lower case but the parameters' values. */
export interface MediaRange {
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly quality: number;
}

/** kubectl sends four clauses; more than this many are noise and are not read. */
const MAX_CLAUSES = 32;

const mediaRange = (clause: string): MediaRange => {
  const [type = '', ...rest] = clause.split(';').map((part) => part.trim());
  const parameters = new Map(
    rest.map((parameter): [string, string] => {
      const at = parameter.indexOf('=');
      return at < 0 ? [parameter.toLowerCase(), ''] : [parameter.slice(0, at).toLowerCase(), parameter.slice(at + 1)];
    }),
  );
  const quality = Number(parameters.get('q') ?? '1');
  return { type: type.toLowerCase(), parameters, quality: Number.isNaN(quality) ? 1 : quality };
};

/** The clauses of an `Accept` header by falling quality, in the sender's order where it is equal; those of quality 0 are left out. */
export const mediaRanges = (accept: string | undefined): readonly MediaRange[] =>
  (accept ?? '')
    .split(',', MAX_CLAUSES)
    .filter((clause) => clause.trim() !== '')
    .map(mediaRange)
    .filter((range) => range.quality > 0)
    .sort((left, right) => right.quality - left.quality);

/** True for JSON and the wild cards that include it. */
export const acceptsJson = (range: MediaRange): boolean =>
  range.type === 'application/json' || range.type === 'application/*' || range.type === '*/*';

const PLAIN: Representation = { as: 'Object', version: 'v1', contentType: 'application/json' };

const META_FORMS = ['Table', 'PartialObjectMetadata', 'PartialObjectMetadataList'] as const;

const representationOf = (range: MediaRange): Representation | null => {
  if (!acceptsJson(range)) return null;
  const as = range.parameters.get('as');
  if (as === undefined) return PLAIN;
  const version = range.parameters.get('v');
  const form = META_FORMS.find((known) => known === as);
  if (form === undefined || range.parameters.get('g') !== 'meta.k8s.io') return null;
  if (version !== 'v1' && version !== 'v1beta1') return null;
  return { as: form, version, contentType: `application/json;as=${form};v=${version};g=meta.k8s.io` };
};

/**
 * Takes the first of the accepted types that can be served; no header accepts all. `as` other than `Object` comes from clauses such as
 * `application/json;as=Table;v=v1;g=meta.k8s.io`. Refusal: `not_acceptable` (406).
 */
export const negotiate = (accept: string | undefined): Result<Representation> => {
  const ranges = mediaRanges(accept);
  if (ranges.length === 0) return ok(PLAIN);
  for (const range of ranges) {
    const representation = representationOf(range);
    if (representation) return ok(representation);
  }
  return reject(
    'not_acceptable',
    `only the following media types can be served: application/json, application/json;as=Table;v=v1;g=meta.k8s.io, application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io; the request accepts "${accept ?? ''}"`,
  );
};
