import { readFileSync } from 'node:fs';
import path from 'node:path';
import { hostProfiles } from '@xenolith/contracts';
import { expect, it } from 'vitest';
import { repositoryRoot } from './folders.js';

it('reads the profiles that the documentation tells people to begin with', () => {
  const text = readFileSync(path.join(repositoryRoot, 'examples', 'host-profiles.json'), 'utf8');
  const prefixes = hostProfiles.parse(JSON.parse(text)).map(({ prefix }) => prefix);
  expect(prefixes).toEqual(['legacy-', 'switched-', 'split-', 'routed-', 'natted-', 'libvirt-', 'merging-', 'gpu-']);
});
