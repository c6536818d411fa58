import type { PlanStep } from '@xenolith/contracts';
import { formatBytes, uuidFrom, type Uuid } from '@xenolith/kernel';
import {
  detachDisks,
  DOMAIN_STEP_MS,
  domainConfig,
  finish,
  from,
  inStages,
  machineRef,
  moveNics,
  ownerOf,
  placementRequest,
  releasePlacement,
  START_DOMAIN_MS,
  step,
} from './virtual-machine.plan-steps.js';
import type { PlacedRun, PresentMachine } from './virtual-machine.state.js';

/** A machine has one image at most, so that it has one volume for all of them; a younger run takes it over. */
export const imageVolumeUid = (machine: Uuid): Uuid => uuidFrom(machine, 'suspend-image');

/** Room for the saved guest, on the default storage domain: all that the domain may have had, its overhead included. */
const provisionImage = (machine: PresentMachine, incarnation: number): PlanStep => {
  const streamId = imageVolumeUid(machine.meta.uid);
  return step({
    name: 'image',
    to: { service: 'storage' },
    type: 'ProvisionVolume',
    streamId,
    data: {
      name: `${machine.meta.name}-suspend-image`,
      namespace: machine.meta.namespace,
      owner: ownerOf(machine),
      spec: { size: formatBytes(placementRequest(machine).memoryBytes), format: 'raw', provisioning: 'sparse' },
      virtualMachine: machineRef(machine),
      incarnation,
      readOnly: false,
    },
    undo: {
      type: 'DeprovisionVolume',
      streamId,
      data: { virtualMachine: { uid: machine.meta.uid }, incarnation, delete: true },
    },
  });
};

/** What is left of an image that nobody resumes from any more. A younger suspension has taken its volume over. */
export const discardImage = (machine: PresentMachine): PlanStep[] => {
  const { image, run, incarnation } = machine.own;
  if (image === null) return [];
  return [
    step({
      name: 'discard-image',
      to: { service: 'storage' },
      type: 'DeprovisionVolume',
      streamId: image.volumeUid,
      data: {
        virtualMachine: { uid: machine.meta.uid },
        incarnation: run.phase === 'suspended' ? run.incarnation : incarnation,
        delete: true,
      },
      doneOn: ['not_found'],
      mustSucceed: true,
    }),
  ];
};

/** room for the image -> save the guest -> give back what its run held -> Suspended. A guest that does not acknowledge runs on. */
export const suspendPlan = (
  machine: PresentMachine,
  run: PlacedRun,
  asked: { readonly operation: Uuid; readonly timeoutMs: number },
): PlanStep[] => {
  const { incarnation, host } = run;
  const { operation, timeoutMs } = asked;
  const save = step({
    name: 'suspend-domain',
    to: { agentOfHost: host },
    type: 'SuspendDomain',
    streamId: machine.meta.uid,
    data: { incarnation, timeoutMs },
    timeoutMs: timeoutMs + DOMAIN_STEP_MS,
  });
  return inStages(
    [provisionImage(machine, incarnation)],
    [save],
    // From here the guest is nowhere but in its image.
    [
      ...detachDisks(machine, incarnation),
      ...moveNics(machine, incarnation),
      releasePlacement(machine, incarnation, 'the machine was suspended'),
    ],
    [
      finish(machine, 'RecordVirtualMachineSuspended', {
        operation,
        incarnation,
        image: {
          sizeBytes: from(save.name, 'sizeBytes'),
          content: from(save.name, 'content'),
          volume: from('image', 'name'),
          volumeUid: from('image', 'uid'),
        },
      }),
    ],
  );
};

/** Takes the place of `StartDomain`: the guest goes on where it was. The image is given back once the run is recorded. */
export const resumeDomain = (machine: PresentMachine, incarnation: number, paused: boolean): PlanStep => {
  const { sizeBytes, content } = machine.own.image ?? { sizeBytes: 0, content: '' };
  return step({
    name: 'start-domain',
    to: { agentOfHost: from('place', 'host') },
    type: 'ResumeDomain',
    streamId: machine.meta.uid,
    data: { incarnation, config: domainConfig(machine), image: { sizeBytes, content }, paused },
    timeoutMs: START_DOMAIN_MS,
    undo: { type: 'DestroyDomain', streamId: machine.meta.uid, data: { incarnation } },
  });
};

/** A suspended guest is ended where it is: in its image. */
export const discardPlan = (machine: PresentMachine, operation: Uuid): PlanStep[] =>
  inStages(discardImage(machine), [
    finish(machine, 'RecordVirtualMachineHalted', {
      operation,
      incarnation: machine.own.run.phase === 'suspended' ? machine.own.run.incarnation : machine.own.incarnation,
      reason: 'hard_shutdown',
      message: 'was powered off',
    }),
  ]);
