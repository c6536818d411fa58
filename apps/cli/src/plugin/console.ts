import { z } from 'zod';
import { UserError } from '../terminal.js';
import { namespaceOf, readRaw, type ClusterOptions } from './cluster.js';

const API = '/apis/compute.xenolith.dev/v1alpha1';

const placedMachine = z.looseObject({
  status: z.looseObject({
    host: z.string().optional(),
    domid: z.number().optional(),
    powerState: z.string().optional(),
  }),
});

/** Prints what a machine's console has shown since its domain began. */
export const showConsole = async (name: string, options: ClusterOptions): Promise<number> => {
  const namespace = encodeURIComponent(await namespaceOf(options));
  const machine = await readRaw(options, `${API}/namespaces/${namespace}/virtualmachines/${encodeURIComponent(name)}`);
  const { host, domid, powerState } = placedMachine.parse(JSON.parse(machine)).status;
  if (host === undefined || domid === undefined)
    throw new UserError(`${name} has no console: it is ${powerState ?? 'on no host'}.`, [
      `Start it with: kubectl xen start ${name}`,
    ]);
  // By number: machines of several namespaces may have one name, and so their domains.
  const printed = await readRaw(options, `${API}/hosts/${encodeURIComponent(host)}/xl?arg=console&arg=${domid}`);
  process.stdout.write(printed.endsWith('\n') ? printed : `${printed}\n`);
  return 0;
};
