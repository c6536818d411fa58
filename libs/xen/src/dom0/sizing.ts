const MEBIBYTE = 2 ** 20;
const GIBIBYTE = 2 ** 30;

/** What Dom0 gets. `memoryBytes` is a whole number of MiB. */
export interface ControlDomainSize {
  readonly vcpus: number;
  readonly memoryBytes: number;
}

/** What a sizing policy looks at: installed memory in bytes, and hardware threads. */
export interface HostSize {
  readonly memoryBytes: number;
  readonly threads: number;
}

export type SizingPolicy = 'huawei' | 'xenserver-v2' | 'xenserver-v3';

/** XenServer's installer counts 256 MiB that the hypervisor took before it looked. */
const SEEN_BY_INSTALLER_MIB = 256;

/** xenserver/python-libs `xcp/dom0.py`, `default_memory_v3`. */
const xenServer3MiB = ({ memoryBytes }: HostSize): number => {
  const hostMiB = memoryBytes / MEBIBYTE + SEEN_BY_INSTALLER_MIB;
  return Math.min((1024 + Math.floor(hostMiB * 0.05)) & ~0xf, 8192);
};

/** The same file, `default_memory_v2`, for platforms before 2.9.0. */
const xenServer2MiB = ({ memoryBytes }: HostSize): number => {
  if (memoryBytes < 24 * GIBIBYTE) return 752;
  if (memoryBytes < 48 * GIBIBYTE) return 2048;
  return memoryBytes < 64 * GIBIBYTE ? 3072 : 4096;
};

/** The same file, `default_vcpus`: as many as there are threads, but few for a small Dom0. */
const xenServerVcpus = ({ threads }: HostSize, memoryMiB: number): number => {
  const bound = memoryMiB < 2048 ? 4 : memoryMiB < 4096 ? 8 : 16;
  return Math.max(1, Math.min(threads, bound));
};

/** 8 GiB, and 5 % of the host's memory above 96 GiB; the rule does not say on which side 96 GiB itself is, here the lower. */
const huaweiMiB = ({ memoryBytes }: HostSize): number =>
  memoryBytes <= 96 * GIBIBYTE ? 8192 : Math.floor(8192 + (memoryBytes * 0.05) / MEBIBYTE);

/**
 * A tenth of the threads, rounded up to an even number. The rule is printed as `threads % 10`, which cannot be meant: it gives none for 20 or
 * 40 threads.
 */
const huaweiVcpus = ({ threads }: HostSize): number => 2 * Math.ceil(threads / 20);

const sized = (vcpus: number, memoryMiB: number): ControlDomainSize => ({ vcpus, memoryBytes: memoryMiB * MEBIBYTE });

/** Dom0's size by a policy. */
export const sizeControlDomain = (policy: SizingPolicy, host: HostSize): ControlDomainSize => {
  switch (policy) {
    case 'huawei':
      return sized(huaweiVcpus(host), huaweiMiB(host));
    case 'xenserver-v2':
      return sized(xenServerVcpus(host, xenServer2MiB(host)), xenServer2MiB(host));
    case 'xenserver-v3':
      return sized(xenServerVcpus(host, xenServer3MiB(host)), xenServer3MiB(host));
  }
};

/** Xen's own command line for this size, as the installer writes it (xenserver/host-installer `backend.py`). */
export const bootParameters = ({ vcpus, memoryBytes }: ControlDomainSize): string => {
  const memory = `${memoryBytes / MEBIBYTE}M`;
  return `dom0_mem=${memory},max:${memory} dom0_max_vcpus=1-${vcpus}`;
};
