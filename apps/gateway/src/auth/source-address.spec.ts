import type { IncomingMessage } from 'node:http';
import { describe, expect, it } from 'vitest';
import { parseNetwork, sourceAddress } from './source-address.js';

const from = (remoteAddress: string, ...forwarded: readonly string[]): IncomingMessage =>
  ({ socket: { remoteAddress }, headersDistinct: { 'x-forwarded-for': forwarded } }) as unknown as IncomingMessage;

describe('the address of who sent a request', () => {
  const read = sourceAddress(['10.0.0.0/8', 'fd00::1']);

  it('is the connection’s, whatever the sender writes', () => {
    expect(read(from('203.0.113.9', '192.0.2.1'))).toBe('203.0.113.9');
    expect(read(from('::ffff:203.0.113.9', '192.0.2.1'))).toBe('203.0.113.9');
    expect(sourceAddress([])(from('10.0.0.1', '192.0.2.1'))).toBe('10.0.0.1');
  });

  it('is what trusted proxies say, and not what was written before it came to them', () => {
    expect(read(from('10.0.0.1', '192.0.2.1'))).toBe('192.0.2.1');
    expect(read(from('fd00::1', '2001:db8::7'))).toBe('2001:db8::7');
    expect(read(from('10.0.0.1', '1.1.1.1, 192.0.2.1, 10.0.0.2'))).toBe('192.0.2.1');
    expect(read(from('10.0.0.1', '1.1.1.1', '192.0.2.1'))).toBe('192.0.2.1');
    expect(read(from('10.0.0.1', 'localhost, 10.0.0.2'))).toBe('10.0.0.2');
    expect(read(from('10.0.0.1', '<script>'))).toBe('10.0.0.1');
    expect(read(from('10.0.0.1'))).toBe('10.0.0.1');
  });

  it('is told by networks that can be read', () => {
    for (const text of ['10.0.0.0/33', '10.0.0', 'proxy', '::1/129', '10.0.0.0/8/8', '10.0.0.0/'])
      expect(parseNetwork(text), text).toBeNull();
    expect(parseNetwork('::1')).toEqual({ address: '::1', prefix: 128 });
  });
});
