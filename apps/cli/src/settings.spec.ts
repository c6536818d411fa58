import { describe, expect, it } from 'vitest';
import { DEFAULT_HOSTS, DEFAULT_PORT, mergeSettings } from './settings.js';

describe('settings of a platform', () => {
  it('start with the documented defaults and a password of their own', () => {
    const [one, other] = [mergeSettings(null, {}), mergeSettings(null, {})];
    expect(one).toMatchObject({ hosts: DEFAULT_HOSTS, port: DEFAULT_PORT });
    expect(one.databasePassword).not.toBe(other.databasePassword);
  });

  it('stay as they were where a second start says nothing', () => {
    const first = mergeSettings(null, { hosts: 40, port: 8000, bootTimeSeconds: 0 });
    expect(mergeSettings(first, { hosts: undefined, port: undefined, bootTimeSeconds: undefined })).toEqual(first);
  });

  it('change where a second start says something', () => {
    const first = mergeSettings(null, { hosts: 40, port: 8000 });
    expect(mergeSettings(first, { hosts: 2 })).toEqual({ ...first, hosts: 2 });
  });
});
