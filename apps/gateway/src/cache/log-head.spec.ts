import { describe, expect, it } from 'vitest';
import { LogHead } from './log-head.js';

/** A log whose answers come when the test says so. */
const slowLog = () => {
  const asked: ((position: number) => void)[] = [];
  return { asked, head: () => new Promise<number>((resolve) => asked.push(resolve)) };
};

describe('the question where the log ends', () => {
  it('is asked once for all who come while another is under way, and never answered by an older one', async () => {
    const log = slowLog();
    const head = new LogHead(log);
    const first = head.ask();
    const later = [head.ask(), head.ask(), head.ask()];
    expect(log.asked.length).toBe(1);
    log.asked[0]?.(5);
    expect(await first).toBe(5);
    await expect.poll(() => log.asked.length).toBe(2);
    log.asked[1]?.(9);
    expect(await Promise.all(later)).toEqual([9, 9, 9]);
    expect(log.asked.length).toBe(2);
  });

  it('is asked again after one that failed', async () => {
    let calls = 0;
    const head = new LogHead({
      head: () => {
        calls += 1;
        return calls === 1 ? Promise.reject(new Error('away')) : Promise.resolve(3);
      },
    });
    const failed = head.ask();
    const next = head.ask();
    await expect(failed).rejects.toThrow('away');
    expect(await next).toBe(3);
  });
});
