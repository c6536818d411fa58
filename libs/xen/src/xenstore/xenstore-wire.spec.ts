import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  createXenstore,
  decodeMessage,
  encodeMessage,
  eventMessage,
  joinStrings,
  MESSAGE_TYPES,
  serve,
  singleString,
  splitStrings,
  Xenstore,
  type MessageType,
} from './index.js';

const number32 = fc.integer({ min: 0, max: 0xffff_ffff });
const bytes = fc.uint8Array({ maxLength: 4096 }).map((values) => String.fromCharCode(...values));

describe('the wire', () => {
  it('carries every message through', () => {
    const message = fc.record({ type: number32, requestId: number32, transactionId: number32, payload: bytes });
    fc.assert(
      fc.property(message, fc.uint8Array({ maxLength: 40 }), (sent, after) => {
        const wire = new Uint8Array([...encodeMessage(sent), ...after]);
        expect(decodeMessage(wire)).toEqual({ state: 'message', message: sent, bytes: 16 + sent.payload.length });
      }),
    );
  });

  it('waits for what is missing, to the byte', () => {
    const wire = encodeMessage({ type: 2, requestId: 1, transactionId: 0, payload: '/a\0' });
    for (let length = 0; length < wire.length; length += 1)
      expect(decodeMessage(wire.subarray(0, length))).toEqual({
        state: 'incomplete',
        needed: (length < 16 ? 16 : wire.length) - length,
      });
  });

  it('gives up on a peer that announces more than 4096 bytes', () => {
    const wire = encodeMessage({ type: 11, requestId: 1, transactionId: 0, payload: 'x'.repeat(4097) });
    expect(decodeMessage(wire)).toEqual({ state: 'too-long', length: 4097 });
  });

  // From the structure in public/io/xs_wire.h, written out by hand.
  it('is four little-endian numbers and the payload', () => {
    const wire = encodeMessage({ type: 11, requestId: 0x01020304, transactionId: 5, payload: '/a\0\xff' });
    expect([...wire]).toEqual([11, 0, 0, 0, 4, 3, 2, 1, 5, 0, 0, 0, 4, 0, 0, 0, 0x2f, 0x61, 0, 0xff]);
  });

  it('has strings that end in NUL', () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a-z]{0,4}$/)), (strings) => {
        expect(splitStrings(joinStrings(strings))).toEqual(strings);
      }),
    );
    expect(splitStrings('a\0rest')).toEqual(['a']);
    expect(['', 'a', 'a\0', 'a\0b\0', '\0'].map(singleString)).toEqual([null, null, 'a', null, '']);
  });
});

describe('requests', () => {
  const session = (): ((type: MessageType, payload: string, transactionId?: number, domid?: number) => string) => {
    const store = new Xenstore(createXenstore());
    return (type, payload, transactionId = 0, domid = 0) => {
      const { reply } = serve(store, domid, { type: MESSAGE_TYPES[type], requestId: 9, transactionId, payload });
      expect([reply.requestId, reply.transactionId]).toEqual([9, transactionId]);
      return reply.type === MESSAGE_TYPES.ERROR ? `!${reply.payload}` : reply.payload;
    };
  };

  it('are answered by their own type, errors by their names', () => {
    const ask = session();
    expect(ask('WRITE', '/a/b\0v\0w')).toBe('OK\0');
    expect(ask('READ', '/a/b\0')).toBe('v\0w');
    expect(ask('READ', '/a/x\0')).toBe('!ENOENT\0');
    expect(ask('READ', '/a/b')).toBe('!EINVAL\0');
    expect(ask('DIRECTORY', '/\0')).toBe('tool\0a\0');
    expect(ask('DIRECTORY', '/a/b\0')).toBe('');
    expect(ask('DIRECTORY_PART', '/a\x000\0')).toMatch(/^\d+\0b\0\0$/);
    expect(ask('SET_PERMS', '/a\0n0\0r3\0')).toBe('OK\0');
    expect(ask('SET_PERMS', '/a\0x0\0')).toBe('!EINVAL\0');
    expect(ask('GET_PERMS', '/a\0')).toBe('n0\0r3\0');
    expect(ask('MKDIR', '/m\0')).toBe('OK\0');
    expect(ask('RM', '/m\0')).toBe('OK\0');
    expect(ask('CONTROL', 'help\0')).toBe('!ENOSYS\0');
    expect(ask('WATCH_EVENT', '')).toBe('!ENOSYS\0');
  });

  it('run in transactions', () => {
    const ask = session();
    expect(ask('TRANSACTION_START', '\0')).toBe('1\0');
    expect(ask('TRANSACTION_START', '\0', 1)).toBe('!EBUSY\0');
    expect(ask('WRITE', '/a\x001', 1)).toBe('OK\0');
    expect(ask('READ', '/a\0')).toBe('!ENOENT\0');
    expect(ask('TRANSACTION_END', 'X\0', 1)).toBe('!EINVAL\0');
    expect(ask('TRANSACTION_END', 'T\0', 1)).toBe('OK\0');
    expect(ask('READ', '/a\0')).toBe('1');
    expect(ask('TRANSACTION_END', 'T\0', 1)).toBe('!ENOENT\0');
  });

  it('manage domains', () => {
    const ask = session();
    expect(ask('INTRODUCE', '5\0-1\x003\0')).toBe('OK\0');
    expect(ask('INTRODUCE', '5\0-1\0')).toBe('!EINVAL\0');
    expect(ask('IS_DOMAIN_INTRODUCED', '5\0')).toBe('T\0');
    expect(ask('GET_DOMAIN_PATH', '5\0', 0, 5)).toBe('/local/domain/5\0');
    expect(ask('INTRODUCE', '6\0-1\x003\0', 0, 5)).toBe('!EACCES\0');
    expect(ask('GET_FEATURE', '', 0, 5)).toBe('14\0');
    expect(ask('SET_FEATURE', '5\x002\0')).toBe('!EBUSY\0');
    expect(ask('GET_QUOTA', '')).toContain('nodes watches outstanding memory soft-memory');
    expect(ask('SET_QUOTA', '5\0nodes\x007\0')).toBe('OK\0');
    expect(ask('GET_QUOTA', '5\0nodes\0')).toBe('7\0');
    expect(ask('GET_QUOTA', 'nodes\0')).toBe('1000\0');
    expect(ask('SET_TARGET', '5\x006\0')).toBe('!ENOENT\0');
    expect(ask('RESUME', '5\0')).toBe('OK\0');
    expect(ask('RESET_WATCHES', '\0', 0, 5)).toBe('OK\0');
    expect(ask('RELEASE', '5\0')).toBe('OK\0');
    expect(ask('RELEASE', '0\0')).toBe('!EINVAL\0');
  });

  it('set watches, whose events are messages without a request', () => {
    const store = new Xenstore(createXenstore());
    const watch = serve(store, 0, {
      type: MESSAGE_TYPES.WATCH,
      requestId: 1,
      transactionId: 0,
      payload: '/a\0t\x001\0',
    });
    expect(watch.events.map(eventMessage)).toEqual([{ type: 15, requestId: 0, transactionId: 0, payload: '/a\0t\0' }]);
    expect(
      serve(store, 0, { type: MESSAGE_TYPES.UNWATCH, requestId: 1, transactionId: 0, payload: '/a\0t\0' }).reply
        .payload,
    ).toBe('OK\0');
  });
});
