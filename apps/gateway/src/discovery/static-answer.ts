import { hashOf } from '@xenolith/kernel';

/** A page that stays the same for as long as the process lives. */
export interface StaticAnswer {
  readonly contentType: string;
  readonly body: string;
  /** Quoted, for `ETag` and `If-None-Match`. */
  readonly etag: string;
}

/** Serializes once; the tag is the hash of the content. */
export const staticAnswer = (content: unknown, contentType = 'application/json'): StaticAnswer => ({
  contentType,
  body: JSON.stringify(content),
  etag: `"${hashOf(content).toUpperCase()}"`,
});
