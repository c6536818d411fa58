import { describe, expect, it } from 'vitest';
import { ACTIONS, parametersOf } from './action.js';

describe('actions of the plugin', () => {
  it('are all that a machine and an operation have', () => {
    expect([...ACTIONS.keys()]).toEqual(expect.arrayContaining(['suspend', 'resume', 'migrate', 'retry']));
  });

  it('take their own flags and no others', () => {
    expect(parametersOf('reboot', { wait: true })).toEqual({});
    expect(parametersOf('migrate', { to: 'host-0003', policy: 'xen-v2' })).toEqual({
      to: 'host-0003',
      policy: 'xen-v2',
    });
    expect(parametersOf('checkpoint', { name: 'before' })).toEqual({ name: 'before' });
    expect(parametersOf('revert', { to: 'before' })).toEqual({ to: 'before' });
    expect(parametersOf('resume', { paused: true })).toEqual({ paused: true });
    expect(parametersOf('migrate', { allowOvercommit: true })).toEqual({ allowOvercommit: true });
    expect(() => parametersOf('reboot', { allowOvercommit: true })).toThrow('reboot takes no --allow-overcommit.');
    expect(() => parametersOf('reboot', { to: 'host-0003' })).toThrow('reboot takes no --to.');
  });
});
