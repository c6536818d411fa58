import { describe, expect, it } from 'vitest';
import { unauthorized } from './access.js';
import { LoginGuard } from './login-guard.js';

const guardAt = () => {
  const clock = { nowMs: 1_000 };
  const guard = new LoginGuard(() => clock.nowMs, { failures: 3, windowMs: 10_000 });
  const wrong = (address: string, token = 'guess') =>
    guard.admit(token, address, () => Promise.reject(unauthorized('unknown'))).catch((error: unknown) => String(error));
  const right = (address: string, token = 'good') => guard.admit(token, address, () => Promise.resolve('ada'));
  return { clock, guard, wrong, right };
};

describe('the guard of the door', () => {
  it('looks at no token more from an address that sent too many wrong ones, until its time is over', async () => {
    const { clock, wrong, right } = guardAt();
    for (let index = 0; index < 3; index += 1)
      expect(await wrong('192.0.2.1', `guess${index}`)).toMatch(/Unauthorized/);
    expect(await wrong('192.0.2.1')).toMatch(/too many wrong tokens came from 192\.0\.2\.1: 3 within 10 s.*in 10 s/);
    await expect(right('192.0.2.1')).rejects.toMatchObject({
      source: { code: 429, details: { retryAfterSeconds: 10 } },
    });
    expect(await right('192.0.2.2')).toBe('ada');
    clock.nowMs += 10_000;
    expect(await right('192.0.2.1', 'other')).toBe('ada');
  });

  it('locks nobody out who was let in lately, and forgets a token that is taken back', async () => {
    const { wrong, right } = guardAt();
    await right('192.0.2.1', 'mine');
    for (let index = 0; index < 5; index += 1) await wrong('192.0.2.1');
    expect(await right('192.0.2.1', 'mine')).toBe('ada');
    expect(await wrong('192.0.2.1', 'mine')).toMatch(/Unauthorized/);
    expect(await wrong('192.0.2.1', 'mine')).toMatch(/too many/);
  });

  it('takes the addresses of one IPv6 network for one, and requests without a token for nothing', async () => {
    const { guard, wrong } = guardAt();
    for (const address of ['2001:db8::1', '2001:db8:0:0:5::', '2001:db8::ffff:1']) await wrong(address);
    expect(await wrong('2001:db8:0:0:9:9:9:9')).toMatch(/too many/);
    expect(await wrong('2001:db8:0:1::1')).toMatch(/Unauthorized/);
    const nothing = () => guard.admit(null, '198.51.100.1', () => Promise.reject(unauthorized('none')));
    for (let index = 0; index < 9; index += 1) await expect(nothing()).rejects.toThrow(/Unauthorized/);
  });

  it('remembers no more than its bound, whatever comes', async () => {
    const { wrong, guard } = guardAt();
    for (let index = 0; index < 5_000; index += 1) await wrong(`10.0.${index >> 8}.${index & 255}`);
    expect((guard as unknown as { failures: Map<string, unknown> }).failures.size).toBe(4_096);
  });
});
