import { headers, type Msg, type MsgHdrs } from '@nats-io/transport-node';
import { describe, expect, it } from 'vitest';
import { deadlineOf, parseCommand, readFrame, signalHeaders } from './frames.js';

const command = {
  commandId: 'c',
  type: 'DoThing',
  streamId: 's',
  data: { deep: { list: [1, null, 'x'] } },
  actor: 'user:test',
  correlationId: 'c',
  causationId: 'c',
  at: 1,
};

/** The parts of an arrived message that frames read. */
const arrived = (text: string, carried?: MsgHdrs): Msg =>
  ({ data: new TextEncoder().encode(text), string: () => text, headers: carried }) as unknown as Msg;

describe('a command in a message', () => {
  it('is read as it was written, with members that this version does not know', () => {
    const newer = { ...command, dryRun: true, priority: 3 };
    expect(parseCommand(JSON.stringify(newer))).toEqual(newer);
  });

  it('is refused in a sentence that names each wrong member', () => {
    expect(parseCommand('not json')).toMatch(/^malformed command: /);
    expect(parseCommand('[]')).toMatch(/^malformed command: /);
    const wrong = parseCommand(JSON.stringify({ ...command, data: [], at: 'now' }));
    expect(wrong).toContain('data: must be an object');
    expect(wrong).toContain('at: ');
  });
});

describe('a frame at a reply inbox', () => {
  it('is a reply, a signal, or the word that nobody listens', () => {
    expect(readFrame(arrived('{"ok":true,"value":{"n":1}}'))).toEqual({
      kind: 'reply',
      reply: { ok: true, value: { n: 1 } },
    });
    const refusal = { ok: false, rejection: { code: 'no', message: 'no', details: { args: ['A'] } } };
    expect(readFrame(arrived(JSON.stringify(refusal)))).toEqual({ kind: 'reply', reply: refusal });
    expect(readFrame(arrived('full', signalHeaders('overloaded')))).toEqual({ kind: 'overloaded', message: 'full' });
    const nobody = headers(503, 'No Responders');
    expect(readFrame(arrived('', nobody))).toEqual({ kind: 'no_responders' });
  });

  it('is a fault when it is none of these', () => {
    expect(readFrame(arrived('{"ok":"yes"}')).kind).toBe('malformed');
    expect(readFrame(arrived('{"ok":false}')).kind).toBe('malformed');
  });
});

it('reads a deadline, and none where none can be read', () => {
  const stated = headers();
  stated.set('Xenolith-Deadline', '1234');
  const unreadable = headers();
  unreadable.set('Xenolith-Deadline', 'soon');
  expect(deadlineOf(arrived('', stated))).toBe(1234);
  expect(deadlineOf(arrived('', unreadable))).toBeNull();
  expect(deadlineOf(arrived(''))).toBeNull();
});
