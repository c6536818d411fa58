import { driverDomainStillMoves } from './driver-domains.js';
import { deviceNamed, machineOf, type Host, type HostTask } from './host-state.js';

/** Whether a task still means anything: what was overtaken is dropped, so that a host at rest has nothing to do. */
export const stillApplies = (host: Host, task: HostTask): boolean => {
  switch (task.do) {
    case 'watch':
    case 'script':
      return true;
    case 'deviceTimer': {
      const machine = machineOf(host, task.uid, task.domid);
      return machine !== null && deviceNamed(machine, task.device)?.task?.dueUs === task.dueUs;
    }
    case 'retry': {
      const machine = machineOf(host, task.uid, task.domid);
      return machine !== null && deviceNamed(machine, task.device)?.retries[task.end] === task.dueUs;
    }
    case 'giveUp':
    case 'plugTimer':
    case 'takeTimer':
    case 'suspendTimer':
      return host.state.machines[task.uid]?.waiting.some(({ ticket }) => ticket === task.ticket) ?? false;
    case 'guest':
      return machineOf(host, task.uid, task.domid)?.guest.next?.dueUs === task.dueUs;
    case 'built':
    case 'saved':
    case 'deviceModel':
    case 'destroyed':
      return machineOf(host, task.uid, task.domid) !== null;
    case 'migrationEffect':
      return host.state.migrations[task.key]?.effectDueUs === task.dueUs;
    case 'keepalive':
      return host.state.migrations[task.key]?.keepaliveUs === task.dueUs;
    case 'driverDomain':
      return driverDomainStillMoves(host, task);
    case 'pages':
      return host.state.scan?.dueUs === task.dueUs;
    case 'hypervisor':
      return host.hypervisor.nextDueUs() === task.dueUs;
  }
};
