import { FolderStore, type ArchiveStore } from './archive-store.js';

/** The store at a location: a folder, or `s3://bucket/prefix`, whose credentials the environment has. Throws an `ArchiveUnavailable`. */
export const openArchiveStore = async (location: string): Promise<ArchiveStore> => {
  if (!location.startsWith('s3://')) return new FolderStore(location);
  // Loaded only where it is needed.
  const { S3Store } = await import('./s3-store.js');
  return new S3Store(location, process.env);
};
