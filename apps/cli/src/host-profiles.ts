import { readFile } from 'node:fs/promises';
import { hostProfiles, type HostProfile } from '@xenolith/contracts';
import { z } from 'zod';
import { messageOf, UserError } from './terminal.js';

const ADVICE = ['docs/settings.md tells what a profile says; examples/host-profiles.json is one to begin with.'];

/** The profiles of a file. What is wrong with it is said whole. */
export const readHostProfiles = async (file: string): Promise<readonly HostProfile[]> => {
  let given: unknown;
  try {
    given = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new UserError(`cannot read the host profiles in ${file}: ${messageOf(cause)}`, ADVICE);
  }
  const parsed = hostProfiles.safeParse(given);
  if (!parsed.success) throw new UserError(`${file} holds no host profiles:\n${z.prettifyError(parsed.error)}`, ADVICE);
  return parsed.data;
};
