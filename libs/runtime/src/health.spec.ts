import { describe, expect, it } from 'vitest';
import { Health } from './health.js';

describe('health', () => {
  it('passes when every check passes, and prints each as Kubernetes does', async () => {
    const health = new Health('readyz');
    health.set('postgres', () => undefined);
    await expect(health.report()).resolves.toEqual({
      ok: true,
      text: '[+]ping ok\n[+]postgres ok\nreadyz check passed\n',
    });
  });

  it('fails with the reason of each check that fails, throws or is unknown', async () => {
    const health = new Health('livez');
    health.set('nats', () => 'the connection to NATS is down');
    health.set('postgres', () => Promise.reject(new Error('no route')));
    await expect(health.report()).resolves.toEqual({
      ok: false,
      text: '[+]ping ok\n[-]nats failed: the connection to NATS is down\n[-]postgres failed: no route\nlivez check failed\n',
    });
    expect((await health.report(['nats', 'postgres'])).ok).toBe(true);
    expect((await health.reportOf('ping')).ok).toBe(true);
    expect((await health.reportOf('nothing')).ok).toBe(false);
  });
});
