import { bundle } from '../bundling.mjs';

/** The programs of the images: each one folder that needs nothing but Node. */
const PROGRAMS = {
  gateway: 'apps/gateway/dist/main.js',
  compute: 'apps/compute/dist/main.js',
  agent: 'apps/compute/dist/agent.js',
  storage: 'apps/storage/dist/main.js',
  network: 'apps/network/dist/main.js',
  scheduler: 'apps/scheduler/dist/main.js',
};

/**
 * Programs beside the main one of an image: /app/migrate.js brings the database up to the release, /app/bus-accounts.js writes who may log in to NATS, /app/direct.js
 * operates a host while the control plane is down.
 */
const BESIDE = {
  agent: { direct: 'apps/compute/dist/direct.js' },
  gateway: { migrate: 'apps/gateway/dist/migrate.js', 'bus-accounts': 'apps/gateway/dist/bus-accounts.js' },
};

export default Object.entries(PROGRAMS).map(([name, entry]) =>
  bundle({ main: entry, ...BESIDE[name] }, `deploy/docker/dist/${name}`),
);
