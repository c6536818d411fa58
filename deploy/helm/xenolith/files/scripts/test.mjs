// Creates a virtual machine through the API, waits until it runs, and deletes it: the script of `helm test`.
import console from 'node:console';
import process from 'node:process';
import { setTimeout } from 'node:timers';
import { ask, send } from './api-client.mjs';

const LIMIT_MS = 120_000;
const MACHINES = '/apis/compute.xenolith.dev/v1alpha1/namespaces/default/virtualmachines';
const name = `helm-test-${Date.now().toString(36)}`;

/** Reads the watch until an event satisfies. */
const seen = async (since, satisfied) => {
  const query = `watch=true&resourceVersion=${since}&fieldSelector=metadata.name%3D${name}`;
  const answer = await send('GET', `${MACHINES}?${query}`);
  let rest = '';
  for await (const chunk of answer.setEncoding('utf8')) {
    const lines = `${rest}${chunk}`.split('\n');
    rest = lines.pop();
    if (lines.some((line) => line !== '' && satisfied(JSON.parse(line)))) return;
  }
  throw new Error('the watch ended early');
};

setTimeout(() => {
  console.error(`helm test: ${name} took longer than ${LIMIT_MS / 1000} s; kubectl describe vm ${name} tells why`);
  process.exit(1);
}, LIMIT_MS).unref();

const created = await ask('POST', MACHINES, {
  body: {
    apiVersion: 'compute.xenolith.dev/v1alpha1',
    kind: 'VirtualMachine',
    metadata: { name },
    spec: { cpu: { vcpus: 1 }, memory: '64Mi' },
  },
});
console.log(`${name} is created`);
await seen(created.metadata.resourceVersion, ({ object }) => object.status?.powerState === 'Running');
console.log(`${name} runs`);
const { metadata } = await ask('GET', `${MACHINES}/${name}`);
await ask('DELETE', `${MACHINES}/${name}`);
await seen(metadata.resourceVersion, ({ type }) => type === 'DELETED');
console.log(`${name} is gone: the platform works`);
process.exit(0);
