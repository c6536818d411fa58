import { categoryOf } from '@xenolith/contracts';
import type { StoredDocument } from '@xenolith/kernel';
import { expect, it } from 'vitest';
import { SERVED_KINDS } from '../discovery/index.js';
import { LoadedDocuments } from './loaded-documents.js';

const host = SERVED_KINDS.filter(({ kind }) => kind === 'Host');
const category = host.map(categoryOf)[0] ?? '';

const document = (index: number): StoredDocument => ({
  streamId: `00000000-0000-4000-8000-${String(index).padStart(12, '0')}`,
  category,
  version: 1,
  position: index,
  document: { metadata: { name: `host-${index}` } },
});
const documents = Array.from({ length: 5 }, (_, index) => document(index + 1));

it('makes an object of every document, page by page, and hands them over once, with their position', () => {
  const loaded = new LoadedDocuments(host);
  const loading = loaded.loading();
  loading.take(documents.slice(0, 3));
  loading.take(documents.slice(3));
  loading.end(7);
  const { position, objects } = loaded.handOver();
  expect(position).toBe(7);
  expect(objects.get(category)?.map(({ uid, name }) => [uid, name])).toEqual(
    documents.map(({ streamId }, index) => [streamId, `host-${index + 1}`]),
  );
  expect(loaded.handOver().objects.get(category)).toBeUndefined();
});

it('begins from scratch when it is loaded again', () => {
  const loaded = new LoadedDocuments(host);
  loaded.load(documents, 7);
  loaded.load(documents.slice(1), 8);
  const { position, objects } = loaded.handOver();
  expect(position).toBe(8);
  expect(objects.get(category)).toHaveLength(4);
});
