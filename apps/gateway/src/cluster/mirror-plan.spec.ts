import { describe, expect, it } from 'vitest';
import { mirrorPlan, type ClusterNamespace, type OwnNamespace } from './mirror-plan.js';

const theirs = (name: string, more: Partial<ClusterNamespace> = {}): ClusterNamespace => ({
  name,
  uid: `their ${name}`,
  terminating: false,
  ...more,
});

const own = (name: string, more: Partial<OwnNamespace> = {}): OwnNamespace => ({
  name,
  uid: `our ${name}`,
  mirrors: `their ${name}`,
  terminating: false,
  ...more,
});

describe('the plan that mirrors namespaces', () => {
  it('makes what the cluster has, takes over what was here, and leaves alone what is alike', () => {
    const plan = mirrorPlan(
      [theirs('new'), theirs('here'), theirs('alike')],
      [own('here', { mirrors: null }), own('alike')],
    );
    expect(plan).toEqual([
      { do: 'create', name: 'new', cause: 'their new' },
      { do: 'adopt', name: 'here', uid: 'our here', cause: 'their here' },
    ]);
  });

  it('deletes what goes or is gone there, and nothing that was never the cluster’s', () => {
    const plan = mirrorPlan(
      [theirs('going', { terminating: true }), theirs('unmade', { terminating: true })],
      [own('going'), own('gone'), own('ours', { mirrors: null }), own('on its way', { terminating: true })],
    );
    expect(plan).toEqual([
      { do: 'delete', name: 'going', uid: 'our going', cause: 'their going' },
      { do: 'delete', name: 'gone', uid: 'our gone', cause: 'their gone' },
    ]);
  });

  it('does not give the objects of a namespace to another of its name', () => {
    const again = theirs('red', { uid: 'another' });
    expect(mirrorPlan([again], [own('red')])).toEqual([
      { do: 'delete', name: 'red', uid: 'our red', cause: 'their red' },
    ]);
    expect(mirrorPlan([again], [own('red', { terminating: true })])).toEqual([]);
    expect(mirrorPlan([again], [])).toEqual([{ do: 'create', name: 'red', cause: 'another' }]);
  });

  it('keeps the namespace that can’t be deleted', () => {
    expect(mirrorPlan([], [own('default')])).toEqual([]);
  });
});
