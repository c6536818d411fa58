import { beforeEach } from 'vitest';
import { getContainerRuntimeClient } from 'testcontainers';

export const PROCESSES = ['gateway', 'compute', 'storage', 'network', 'scheduler', 'agent'] as const;
export type ProcessName = (typeof PROCESSES)[number];

/** `./xenolith test` builds the images under this tag. */
export const TAG = process.env['XENOLITH_IMAGE_TAG'] ?? 'test';

export const imageOf = (process: ProcessName, tag = TAG): string => `xenolith/${process}:${tag}`;

/** What this machine lacks for these tests, or null. */
const findLack = async (): Promise<string | null> => {
  const client = await getContainerRuntimeClient().catch(() => null);
  if (client === null) return 'no Docker engine answers';
  const { dockerode } = client.container;
  for (const process of PROCESSES) {
    const there = await dockerode
      .getImage(imageOf(process))
      .inspect()
      .catch(() => null);
    if (there === null) return `the engine has no image ${imageOf(process)}: deploy/docker/build ${TAG} makes it`;
  }
  return null;
};

export const lack = await findLack();

/** Leaves out the tests that follow, each with the reason, where the machine can't run them. */
export const needsEngine = (): void => {
  beforeEach((context) => {
    context.skip(lack !== null, lack ?? '');
  });
};

export const engine = async (): ReturnType<typeof getContainerRuntimeClient> => getContainerRuntimeClient();
