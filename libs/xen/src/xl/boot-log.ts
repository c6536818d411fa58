import type { HostFacts } from './info.js';

/** What the hypervisor says at boot beyond the facts of `xl info`. */
export interface BootFacts {
  readonly bootloader: string;
  readonly dom0MaxVcpus: number;
  readonly iommu: boolean;
}

const SCHEDULER_NAMES: Readonly<Record<string, string>> = {
  credit: 'SMP Credit Scheduler (credit)',
  credit2: 'SMP Credit Scheduler rev2 (credit2)',
};

/**
 * `xl dmesg`: the hypervisor's messages of a boot in their order, those that follow from the host's facts. What a machine's firmware would add (memory
 * maps, ACPI tables, MSR quirks) is left out.
 */
export const bootLogText = (host: HostFacts, boot: BootFacts): string => {
  const { xen } = host;
  const mebibytes = host.nodes.reduce((sum, node) => sum + node.memoryMib, 0);
  const messages = [
    `Xen version ${xen.major}.${xen.minor}${xen.extra} (${xen.compileBy}@${xen.compileDomain}) (${xen.compiler}) debug=n ${xen.compileDate}`,
    `Latest ChangeSet: ${xen.changeset}`,
    ...(xen.buildId === '' ? [] : [`build-id: ${xen.buildId}`]),
    `Bootloader: ${boot.bootloader}`,
    `Command line: ${xen.commandline}`,
    `System RAM: ${mebibytes}MB (${mebibytes * 1024}kB)`,
    `Using scheduler: ${SCHEDULER_NAMES[xen.scheduler] ?? xen.scheduler}`,
    ...(xen.scheduler === 'credit2' ? ['Initializing Credit2 scheduler'] : []),
    `Detected ${Math.floor(host.cpuKhz / 1000)}.${String(host.cpuKhz % 1000).padStart(3, '0')} MHz processor.`,
    ...(boot.iommu
      ? ['I/O virtualisation enabled', ' - Dom0 mode: Relaxed', 'Interrupt remapping enabled']
      : ['I/O virtualisation disabled']),
    ...(host.virtCaps.includes('hvm') ? ['HVM: ASIDs enabled.'] : []),
    ...(host.virtCaps.includes('hap')
      ? ['HVM: Hardware Assisted Paging (HAP) detected', 'HVM: HAP page sizes: 4kB, 2MB, 1GB']
      : []),
    `Brought up ${host.cpus.length} CPUs`,
    '*** Building a PV Dom0 ***',
    `Dom0 has maximum ${boot.dom0MaxVcpus} VCPUs`,
    'Scrubbing Free RAM in background',
    "*** Serial input to DOM0 (type 'CTRL-a' three times to switch input)",
  ];
  return messages.map((message) => `(XEN) ${message}\n`).join('');
};
