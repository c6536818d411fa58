import { z } from 'zod';

/** Answers of the `metrics` subresource, in the form of metrics.k8s.io: figures of the last seconds, which the log never has. */
const figuresMetadata = z
  .looseObject({
    name: z.string().describe('Name of the object that the figures are of.'),
    namespace: z.string().optional().describe('Its namespace.'),
    labels: z.record(z.string(), z.string()).optional().describe('Its labels.'),
    creationTimestamp: z.string().optional().describe('When the figures were put together.'),
  })
  .describe('Whose figures these are.');

const usage = (cpu: string, memory: string) =>
  z.object({ cpu: z.string().describe(cpu), memory: z.string().describe(memory) }).describe('What it uses.');

const taken = {
  timestamp: z.string().describe('When the host took the figures.'),
  window: z.string().describe('How often it takes them.'),
};

export const hostMetrics = z.object({
  metadata: figuresMetadata,
  ...taken,
  usage: usage(
    'Hardware threads that are busy, such as 1500m.',
    'Memory that is given away, Xen’s and Dom0’s included.',
  ),
  capacity: usage('Hardware threads.', 'Installed memory.').describe('What there is.'),
  domains: z.number().int().describe('Domains on it, Dom0 left out.'),
  controlDomain: usage('Hardware threads that Dom0 keeps busy.', 'Memory of Dom0.')
    .extend({ usedMemory: z.string().optional().describe('Of its memory, what its processes use, device models too.') })
    .optional()
    .describe('What Dom0 uses.'),
  migrations: z
    .object({
      incoming: z.number().int().describe('To this host.'),
      outgoing: z.number().int().describe('Away from it.'),
    })
    .optional()
    .describe('Live migrations under way.'),
  sharing: z
    .object({
      shared: z.string().describe('Memory that several domains have.'),
      saved: z.string().describe('What they would have beyond it, each of its own.'),
    })
    .optional()
    .describe('Equal pages of guests that are merged.'),
});
export type HostMetrics = z.infer<typeof hostMetrics>;

const amount = (description: string) => z.number().describe(description);

/** Of a device that is split between the guest and Dom0. */
const split = {
  states: z
    .object({ frontend: amount('Of the guest’s end.'), backend: amount('Of Dom0’s end.') })
    .optional()
    .describe('States of both ends, as XenBus numbers them; 4 is connected.'),
  rings: z
    .object({
      inFlight: amount('Requests in the rings at this moment.'),
      fullSeconds: amount('How long the guest has found them full since its domain began.'),
    })
    .optional()
    .describe('The rings between both ends.'),
};

export const virtualMachineMetrics = z.object({
  metadata: figuresMetadata,
  ...taken,
  host: z.string().describe('The host that it runs on.'),
  usage: usage('Hardware threads that it keeps busy, such as 250m.', 'Memory that its domain has, overhead included.'),
  steal: z
    .string()
    .optional()
    .describe('Hardware threads that its virtual CPUs could have used and did not get, such as 20m.'),
  cpuSeconds: amount('CPU time used since its domain began.').optional(),
  stealSeconds: amount('Time that it waited for a thread since its domain began.').optional(),
  balloon: z
    .object({ target: z.string().describe('Where it is to go.'), actual: z.string().describe('Where it is.') })
    .optional()
    .describe('The balloon: memory that the guest can use.'),
  dirtyPagesPerSecond: amount('Pages that the guest writes to, each counted once a second.').optional(),
  memoryByNode: z.array(z.string()).optional().describe('Its memory on each NUMA node, where it prefers some of them.'),
  sharedMemory: z.string().optional().describe('Of its memory, what it has in common with others.'),
  disks: z
    .array(
      z.object({
        name: z.string().describe('Name of the disk in the machine’s spec.'),
        reads: amount('Read requests since its domain began.'),
        writes: amount('Write requests since its domain began.'),
        readBytes: amount('Bytes read since its domain began.'),
        writtenBytes: amount('Bytes written since its domain began.'),
        readBytesPerSecond: amount('Bytes read a second, over the last window.').optional(),
        writtenBytesPerSecond: amount('Bytes written a second, over the last window.').optional(),
        ...split,
      }),
    )
    .optional()
    .describe('What goes over each disk.'),
  nics: z
    .array(
      z.object({
        name: z.string().describe('Name of the interface in the machine’s spec.'),
        receivedPackets: amount('Packets received since its domain began.'),
        sentPackets: amount('Packets sent since its domain began.'),
        receivedBytes: amount('Bytes received since its domain began.'),
        sentBytes: amount('Bytes sent since its domain began.'),
        receivedBytesPerSecond: amount('Bytes received a second, over the last window.').optional(),
        sentBytesPerSecond: amount('Bytes sent a second, over the last window.').optional(),
        ...split,
      }),
    )
    .optional()
    .describe('What goes over each interface.'),
});
export type VirtualMachineMetrics = z.infer<typeof virtualMachineMetrics>;
