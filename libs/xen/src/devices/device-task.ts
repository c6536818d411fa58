import type { Device, DeviceNodes, StoreOperation, StoreView } from './device.js';
import {
  addDeviceOperations,
  backendOf,
  destroyDeviceOperations,
  frontendOf,
  servedByQemu,
  TOOLSTACK_DOMID,
  toolstackCopyOf,
} from './device.js';
import type { HotplugRun } from './hotplug.js';
import { hotplugRunOf } from './hotplug.js';
import { stateAt, XENBUS } from './xenbus.js';

/** libxl's patience (tools/libs/light/libxl_internal.h, `LIBXL_INIT_TIMEOUT`, `_DESTROY_TIMEOUT`, `_HOTPLUG_TIMEOUT`). */
export const DEVICE_INIT_TIMEOUT_US = 10_000_000;
export const DEVICE_DESTROY_TIMEOUT_US = 10_000_000;
export const HOTPLUG_TIMEOUT_US = 40_000_000;

/** libxl's numbers (tools/libs/light/libxl_types.idl, `libxl_error`). */
export const LIBXL_ERROR = { fail: -3, timedOut: -9, deviceExists: -17 } as const;
export type LibxlError = (typeof LIBXL_ERROR)[keyof typeof LIBXL_ERROR];

/** `off`: fail when the guest does not let go; `auto`: then take it away; `on`: take it away at once (`libxl__force`). */
export type Force = 'off' | 'auto' | 'on';

/** How far libxl is with adding or removing a device. JSON. */
export interface DeviceTask {
  readonly device: Device;
  readonly action: 'add' | 'remove';
  readonly force: Force;
  /** `backend`: waits for a state of the back-end; `script`: a hot-plug script runs; `vanish`: a driver domain removes its directory. */
  readonly phase: 'backend' | 'script' | 'vanish' | 'done';
  /** Number of the script's run, from 0. */
  readonly execution: number;
  /** When its patience ends; null: it does not wait. */
  readonly dueUs: number | null;
  /** 0, or the first error. */
  readonly rc: 0 | LibxlError;
}

export type DeviceTaskAction =
  | { readonly do: 'transaction'; readonly operations: readonly StoreOperation[] }
  /** Start the script; answer by `scriptEnded`. */
  | { readonly do: 'runHotplug'; readonly run: HotplugRun }
  | { readonly do: 'killHotplug' };

export type DeviceTaskWake =
  /** A watch on the back-end's state, or on its directory, fired. */
  { readonly why: 'watch' } | { readonly why: 'timer' } | { readonly why: 'scriptEnded'; readonly exit: number };

export interface DeviceTaskStep {
  readonly task: DeviceTask;
  readonly actions: readonly DeviceTaskAction[];
}

interface Draft {
  task: DeviceTask;
  readonly view: StoreView;
  readonly nowUs: number;
  readonly actions: DeviceTaskAction[];
}

/** What the toolstack watches meanwhile. */
export const deviceTaskWatches = (task: DeviceTask): readonly string[] =>
  task.phase === 'backend'
    ? [`${backendOf(task.device)}/state`]
    : task.phase === 'vanish'
      ? [backendOf(task.device)]
      : [];

/** `device_hotplug_done`: the nodes of a removed device go, and those of one that was removed by force go whatever happened. */
const finish = (draft: Draft, rc: DeviceTask['rc']): void => {
  const first = draft.task.rc === 0 ? rc : draft.task.rc;
  const { action, force, device } = draft.task;
  if (action === 'remove' && (force === 'on' || first === 0))
    draft.actions.push({ do: 'transaction', operations: destroyDeviceOperations(device) });
  draft.task = { ...draft.task, phase: 'done', dueUs: null, rc: first };
};

/** `device_hotplug`: the next run of the script, if one is left. A driver domain runs its own. */
const startScript = (draft: Draft): void => {
  const { device, action, execution } = draft.task;
  if (device.backendDomid !== TOOLSTACK_DOMID) {
    if (action === 'add' || draft.view.read(`${backendOf(device)}/state`) === null) {
      finish(draft, 0);
      return;
    }
    draft.task = { ...draft.task, phase: 'vanish', dueUs: draft.nowUs + DEVICE_DESTROY_TIMEOUT_US };
    return;
  }
  const run = hotplugRunOf(device, action, execution, draft.view);
  if (run === null) {
    finish(draft, 0);
    return;
  }
  if (run === 'noScript') {
    finish(draft, LIBXL_ERROR.fail);
    return;
  }
  draft.task = { ...draft.task, phase: 'script', dueUs: draft.nowUs + HOTPLUG_TIMEOUT_US };
  draft.actions.push({ do: 'runHotplug', run });
};

const awaitBackend = (draft: Draft, patienceUs: number): void => {
  draft.task = { ...draft.task, phase: 'backend', dueUs: draft.nowUs + patienceUs };
};

/** `libxl__initiate_device_generic_remove`: offline and Closing, by force without the front-end. */
const initiateRemove = (draft: Draft): void => {
  const { device, force } = draft.task;
  const back = backendOf(device);
  const state = draft.view.read(`${back}/state`);
  const operations: StoreOperation[] = force === 'on' ? [{ op: 'cleanup', path: frontendOf(device) }] : [];
  if (state === null) {
    if (operations.length > 0) draft.actions.push({ do: 'transaction', operations });
    finish(draft, 0);
    return;
  }
  operations.push({ op: 'write', path: `${back}/online`, value: '0' });
  const closed = state === String(XENBUS.closed);
  if (!closed) operations.push({ op: 'write', path: `${back}/state`, value: String(XENBUS.closing) });
  draft.actions.push({ do: 'transaction', operations });
  if (closed) {
    startScript(draft);
    return;
  }
  awaitBackend(draft, DEVICE_DESTROY_TIMEOUT_US);
};

const stepOf = (draft: Draft): DeviceTaskStep => ({ task: draft.task, actions: draft.actions });

const taskOf = (device: Device, action: DeviceTask['action'], force: Force): DeviceTask => ({
  device,
  action,
  force,
  phase: 'backend',
  execution: 0,
  dueUs: null,
  rc: 0,
});

/** Begins to add a device; `deviceExists` where the toolstack has one of that number (tools/libs/light/libxl_device.c, `libxl__device_add_async`). */
export const addDevice = (device: Device, nodes: DeviceNodes, view: StoreView, nowUs: number): DeviceTaskStep => {
  const draft: Draft = { task: taskOf(device, 'add', 'off'), view, nowUs, actions: [] };
  if (view.read(`${toolstackCopyOf(device)}/backend`) !== null) {
    finish(draft, LIBXL_ERROR.deviceExists);
    return stepOf(draft);
  }
  draft.actions.push({ do: 'transaction', operations: addDeviceOperations(device, nodes) });
  // qemu-dm takes its devices up when it starts; console and virtual keyboard have no script either.
  if (servedByQemu(device) || device.backendKind === 'console') finish(draft, 0);
  else awaitBackend(draft, DEVICE_INIT_TIMEOUT_US);
  return stepOf(draft);
};

/** Begins to remove a device. `xl` uses `auto`; destroying a domain uses `on`. */
export const removeDevice = (device: Device, force: Force, view: StoreView, nowUs: number): DeviceTaskStep => {
  const draft: Draft = { task: taskOf(device, 'remove', force), view, nowUs, actions: [] };
  initiateRemove(draft);
  return stepOf(draft);
};

const lookAtBackend = (draft: Draft): void => {
  const { device, action, phase } = draft.task;
  const back = backendOf(device);
  if (phase === 'vanish') {
    if (draft.view.read(`${back}/state`) === null) finish(draft, 0);
    return;
  }
  const wanted = action === 'add' ? XENBUS.initWait : XENBUS.closed;
  if (phase === 'backend' && stateAt(draft.view, back) === wanted) startScript(draft);
};

const runOutOfPatience = (draft: Draft): void => {
  const { action, force, phase } = draft.task;
  if (phase === 'script') {
    draft.actions.push({ do: 'killHotplug' });
    endScript(draft, LIBXL_ERROR.timedOut);
    return;
  }
  if (phase === 'backend' && action === 'remove' && force === 'auto') {
    draft.task = { ...draft.task, force: 'on' };
    initiateRemove(draft);
    return;
  }
  finish(draft, LIBXL_ERROR.timedOut);
};

/** `device_hotplug_child_death_cb`: only adding fails by a failed script; removing goes on. */
const endScript = (draft: Draft, rc: DeviceTask['rc']): void => {
  if (rc !== 0) draft.task = { ...draft.task, rc: draft.task.rc === 0 ? rc : draft.task.rc };
  if (rc !== 0 && draft.task.action === 'add') {
    finish(draft, rc);
    return;
  }
  draft.task = { ...draft.task, execution: draft.task.execution + 1 };
  startScript(draft);
};

/**
 * What libxl does next for a device: a pure function. When an added device fails, whoever builds the domain removes it again by force, as
 * libxl does when a domain can't be created (tools/libs/light/libxl_device.c).
 */
export const deviceTaskStep = (
  task: DeviceTask,
  wake: DeviceTaskWake,
  view: StoreView,
  nowUs: number,
): DeviceTaskStep => {
  const draft: Draft = { task, view, nowUs, actions: [] };
  if (task.phase === 'done') return stepOf(draft);
  switch (wake.why) {
    case 'watch':
      lookAtBackend(draft);
      break;
    case 'timer':
      if (task.dueUs !== null && nowUs >= task.dueUs) runOutOfPatience(draft);
      break;
    case 'scriptEnded':
      if (task.phase === 'script') endScript(draft, wake.exit === 0 ? 0 : LIBXL_ERROR.fail);
      break;
  }
  return stepOf(draft);
};
