import { expect, test } from 'vitest';
import { dataFolder } from '../folders.js';
import { mergeSettings } from '../settings.js';
import { NODE_PROCESSES, servicePlan } from './services.js';

test('the first stop after a build took 15 s, as the processes wrote one compile cache over each other', () => {
  const context = {
    folder: dataFolder('/somewhere'),
    settings: mergeSettings(null, {}),
    database: { service: () => ({}) },
    natsUrl: '',
    ownNats: true,
    ports: {},
    inherited: {},
  };
  const caches = NODE_PROCESSES.map((name) => servicePlan(name, context).env['NODE_COMPILE_CACHE']);
  expect(new Set(caches).size).toBe(NODE_PROCESSES.length);
});
