import { describe, expect, it } from 'vitest';
import { NewerEvent, upcast } from './upcast.js';

const upcasters = {
  Placed: [
    { from: 1, upcast: (data: object) => ({ ...data, zone: 'none' }) },
    { from: 2, upcast: (data: object) => ({ ...data, rack: 'none' }) },
  ],
};

describe('upcast', () => {
  it('moves an event through every version up to the newest', () => {
    const old = { type: 'Placed', schemaVersion: 1, data: { host: 'a' } };
    expect(upcast(old, upcasters)).toEqual({
      type: 'Placed',
      schemaVersion: 3,
      data: { host: 'a', zone: 'none', rack: 'none' },
    });
    expect(old).toEqual({ type: 'Placed', schemaVersion: 1, data: { host: 'a' } });
  });

  it('leaves the newest shape and types without upcasters as they are', () => {
    const newest = { type: 'Placed', schemaVersion: 3, data: {} };
    const other = { type: 'Moved', schemaVersion: 1, data: {} };
    expect(upcast(newest, upcasters)).toBe(newest);
    expect(upcast(other, upcasters)).toBe(other);
    expect(upcast(other, undefined)).toBe(other);
  });

  it('refuses a shape that only a newer release knows', () => {
    const newer = { type: 'Placed', schemaVersion: 4, data: {} };
    expect(() => upcast(newer, upcasters)).toThrow(NewerEvent);
    expect(() => upcast({ ...newer, type: 'Moved', schemaVersion: 2 }, undefined)).toThrow(
      'Moved has schema version 2 and this release knows 1',
    );
  });
});
