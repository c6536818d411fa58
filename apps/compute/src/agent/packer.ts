import { deflateRawSync, inflateRawSync } from 'node:zlib';
import type { TextPacker } from '@xenolith/agent';

/** The store and the devices of one domain are much like those of the next: even the fastest level makes a host a tenth of its text. */
const LEVEL = 1;

/** Packs by deflate, written in base64 so that a journal's line can hold it. */
export const deflatePacker: TextPacker = {
  pack: (text) => deflateRawSync(text, { level: LEVEL }).toString('base64'),
  unpack: (packed) => inflateRawSync(Buffer.from(packed, 'base64')).toString(),
};
