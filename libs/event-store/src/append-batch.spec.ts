import { uuidFrom, type AppendRequest } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import { appendValues, prepareAppend } from './append-batch.js';

const streamId = uuidFrom('append-batch', 'stream');

const request = (serial: number, requestHash = 'hash'): AppendRequest => {
  const commandId = uuidFrom('append-batch', serial);
  return {
    commandId,
    requestHash,
    writes: [
      {
        streamId,
        category: 'jar',
        expected: 'any',
        events: [
          { type: 'SweetsAdded', schemaVersion: 1, data: { amount: serial } },
          { type: 'SweetsTaken', schemaVersion: 1, data: { amount: 1 } },
        ],
        document: null,
        ends: false,
      },
    ],
    claims: [],
    timers: [],
    cancels: [],
    metadata: { commandId, correlationId: commandId, causationId: commandId, actor: 'test', at: 0 },
    result: { ok: true },
  };
};

describe('a group commit', () => {
  it('names events as the kernel does', () => {
    for (let serial = 0; serial < 200; serial += 1) {
      const { commandId } = request(serial);
      expect(prepareAppend(request(serial)).writes[0]?.eventIds).toEqual([
        uuidFrom(commandId, streamId, 0),
        uuidFrom(commandId, streamId, 1),
      ]);
    }
  });

  it('writes arrays as PostgreSQL reads them, and leaves texts that need an escape to the driver', () => {
    const [first, second] = [request(1), request(2, 'a "quoted" hash')];
    const values = appendValues([first, second].map(prepareAppend), {});
    expect(values[0]).toBe(`{${first.commandId},${second.commandId}}`);
    expect(values[1]).toEqual(['hash', 'a "quoted" hash']);
    expect(values[6]).toBe('{"jar"}');
    expect(values.at(-1)).toBe('{}');
  });
});
