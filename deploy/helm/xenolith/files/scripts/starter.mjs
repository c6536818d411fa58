// Applies the inventory that a new platform begins with. It may run again: what is there already stays as it is.
import console from 'node:console';
import { readFileSync } from 'node:fs';
import process from 'node:process';
import { ask } from './api-client.mjs';

for (const object of JSON.parse(readFileSync(process.env.OBJECTS_FILE, 'utf8'))) {
  const { apiVersion, kind, metadata } = object;
  const base = `/apis/${apiVersion}`;
  const { resources } = await ask('GET', base);
  const resource = resources.find((each) => each.kind === kind && !each.name.includes('/'));
  const namespace = resource.namespaced ? `/namespaces/${metadata.namespace ?? 'default'}` : '';
  const target = `${base}${namespace}/${resource.name}/${metadata.name}`;
  await ask('PATCH', `${target}?fieldManager=xenolith-starter&force=true`, {
    body: object,
    type: 'application/apply-patch+yaml',
  });
  console.log(`${kind} ${metadata.name} is applied`);
}
process.exit(0);
