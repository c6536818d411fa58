// Creates a virtual machine through the API, waits until it runs, and deletes it: the script of `helm test`.
import { readFileSync } from 'node:fs';
import console from 'node:console';
import { Agent, request } from 'node:https';
import process from 'node:process';
import { setTimeout } from 'node:timers';

const { API_HOST, API_PORT = '443', TOKENS_FILE, CA_FILE } = process.env;
const LIMIT_MS = 120_000;
const MACHINES = '/apis/compute.xenolith.dev/v1alpha1/namespaces/default/virtualmachines';
const name = `helm-test-${Date.now().toString(36)}`;

const [{ token }] = JSON.parse(readFileSync(TOKENS_FILE, 'utf8'));
const agent = new Agent({ ca: CA_FILE === undefined ? undefined : readFileSync(CA_FILE), keepAlive: true });
const asked = (method, path, body) =>
  new Promise((resolve, reject) => {
    const sent = request(
      {
        ...{ host: API_HOST, port: Number(API_PORT), path, method, agent },
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      },
      resolve,
    );
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });

const textOf = async (answer) => {
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) text += chunk;
  return text;
};

const ask = async (method, path, body) => {
  const answer = await asked(method, path, body);
  const text = await textOf(answer);
  if (answer.statusCode >= 300) throw new Error(`${method} ${path}: ${answer.statusCode} ${text}`);
  return JSON.parse(text);
};

/** Reads the watch until an event satisfies. */
const seen = async (since, satisfied) => {
  const query = `watch=true&resourceVersion=${since}&fieldSelector=metadata.name%3D${name}`;
  const answer = await asked('GET', `${MACHINES}?${query}`);
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
  apiVersion: 'compute.xenolith.dev/v1alpha1',
  kind: 'VirtualMachine',
  metadata: { name },
  spec: { cpu: { vcpus: 1 }, memory: '64Mi' },
});
console.log(`${name} is created`);
await seen(created.metadata.resourceVersion, ({ object }) => object.status?.powerState === 'Running');
console.log(`${name} runs`);
const { metadata } = await ask('GET', `${MACHINES}/${name}`);
await ask('DELETE', `${MACHINES}/${name}`);
await seen(metadata.resourceVersion, ({ type }) => type === 'DELETED');
console.log(`${name} is gone: the platform works`);
process.exit(0);
