import type { StoredDocument } from '@xenolith/kernel';
import { expect, it } from 'vitest';
import { LoadedDocuments } from './loaded-documents.js';

const document = (index: number): StoredDocument => ({
  streamId: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`,
  category: 'host',
  version: 1,
  position: index,
  document: {},
});

it('hands over every document once, in pages, with the position that they are of', async () => {
  const documents = Array.from({ length: 2_500 }, (_, index) => document(index + 1));
  const loaded = new LoadedDocuments();
  loaded.load(documents, 3_000);
  const pages: (readonly StoredDocument[])[] = [];
  expect(await loaded.handOver((page) => void pages.push(page))).toBe(3_000);
  expect(pages.map(({ length }) => length)).toEqual([1_000, 1_000, 500]);
  expect(pages.flat()).toEqual(documents);
  expect(await loaded.handOver((page) => void pages.push(page))).toBe(3_000);
  expect(pages).toHaveLength(3);
});
