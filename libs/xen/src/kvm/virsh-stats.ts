import { workFigures } from '../host/device-work.js';
import { diskLetters, volumePath } from '../host/machine-devices.js';
import { printed, type ToolOutput } from '../xl/index.js';
import { cpuFigures } from './kvm-cpu.js';
import { hasVirtio } from './kvm-devices.js';
import type { KvmHost, KvmMachine } from './kvm-state.js';

const KIBIBYTE = 1024;
const NS_PER_S = 1e9;

/** include/libvirt/libvirt-domain.h, `virDomainState` with the first reason of each; a machine that is saved or leaves stands still for that. */
const codesOf = ({ phase, paused, guest }: KvmMachine): readonly [state: number, reason: number] => {
  if (phase === 'ending') return [4, 1];
  if (phase === 'saving') return [3, 3];
  if (phase === 'arriving' || phase === 'finishing') return [3, 2];
  if (phase === 'shutdown') return guest.phase === 'ended' ? [6, 0] : [5, 1];
  return paused ? [3, 1] : [1, 1];
};

const diskFields = (host: KvmHost, machine: KvmMachine, nowUs: number): readonly string[] => {
  const { disks } = workFigures(host.state, machine, { overRings: hasVirtio(machine), nowUs, more: () => ({}) });
  return disks.flatMap(({ name, reads, readBytes, writes, writtenBytes }, index) => {
    const at = machine.devices.find((device) => device.kind === 'disk' && device.name === name)?.slot ?? 0;
    const settings = machine.settings.disks.find((disk) => disk.name === name);
    return [
      `name=${hasVirtio(machine) ? 'vd' : 'hd'}${diskLetters(at)}`,
      `path=${volumePath(settings?.volume ?? '')}`,
      `rd.reqs=${reads}`,
      `rd.bytes=${readBytes}`,
      `wr.reqs=${writes}`,
      `wr.bytes=${writtenBytes}`,
      `capacity=${settings?.sizeBytes ?? 0}`,
    ].map((field) => `block.${index}.${field}`);
  });
};

const nicFields = (host: KvmHost, machine: KvmMachine, nowUs: number): readonly string[] => {
  const { nics } = workFigures(host.state, machine, { overRings: hasVirtio(machine), nowUs, more: () => ({}) });
  return nics.flatMap(({ name, receivedBytes, receivedPackets, sentBytes, sentPackets }, index) => {
    const tap = machine.devices.find((device) => device.kind === 'nic' && device.name === name)?.tap ?? 0;
    return [
      `name=vnet${tap}`,
      // What the guest sends, the host's tap receives.
      `rx.bytes=${sentBytes}`,
      `rx.pkts=${sentPackets}`,
      `rx.errs=0`,
      `rx.drop=0`,
      `tx.bytes=${receivedBytes}`,
      `tx.pkts=${receivedPackets}`,
      `tx.errs=0`,
      `tx.drop=0`,
    ].map((field) => `net.${index}.${field}`);
  });
};

const statsOf = (host: KvmHost, machine: KvmMachine, nowUs: number): string => {
  const { settings } = machine;
  const [state, reason] = codesOf(machine);
  const cpuNs = Math.round(cpuFigures(host, machine, nowUs).cpuSeconds * NS_PER_S);
  const fields = [
    `state.state=${state}`,
    `state.reason=${reason}`,
    `cpu.time=${cpuNs}`,
    `balloon.current=${Math.floor(settings.dynamicMaxBytes / KIBIBYTE)}`,
    `balloon.maximum=${Math.floor(settings.staticMaxBytes / KIBIBYTE)}`,
    `vcpu.current=${settings.vcpus}`,
    `vcpu.maximum=${settings.maxVcpus}`,
    ...Array.from({ length: settings.vcpus }, (_, vcpu) => [
      `vcpu.${vcpu}.state=1`,
      `vcpu.${vcpu}.time=${Math.round(cpuNs / settings.vcpus)}`,
    ]).flat(),
    `net.count=${settings.nics.length}`,
    ...nicFields(host, machine, nowUs),
    `block.count=${settings.disks.length}`,
    ...diskFields(host, machine, nowUs),
  ];
  return `Domain: '${settings.name}'\n${fields.map((field) => `  ${field}\n`).join('')}\n`;
};

/** tools/virsh-domain-monitor.c, `cmdDomstats`, with the names of docs/manpages/virsh.rst; CPU time is spread evenly over the vCPUs. */
export const domstats = (host: KvmHost, machines: readonly KvmMachine[], nowUs: number): ToolOutput =>
  printed(machines.map((machine) => statsOf(host, machine, nowUs)).join(''));
