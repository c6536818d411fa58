import { describe, expect, it } from 'vitest';
import { NestLog, openLog, type Log } from './log.js';

const linesOf = (write: (log: Log) => void): readonly Record<string, unknown>[] => {
  const lines: Record<string, unknown>[] = [];
  const stream = { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) };
  write(openLog({ service: 'test', instance: '1', level: 'debug', stream }));
  return lines;
};

const fault = new TypeError('the append failed', { cause: new RangeError('no space left') });

describe('log', () => {
  it('tells an error whole, whatever the field is called', () => {
    const [line] = linesOf((log) => log.error({ fault, host: 'host-0001' }, 'something failed'));
    expect(line).toMatchObject({
      level: 'error',
      msg: 'something failed',
      host: 'host-0001',
      fault: { type: 'TypeError', message: 'the append failed: no space left' },
    });
    expect(line?.['fault']).toHaveProperty('stack', expect.stringContaining('caused by: RangeError: no space left'));
  });

  it('tells an error in the usual field once, with the members that it has of its own', () => {
    const [line] = linesOf((log) => log.warn({ err: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }) }));
    expect(line?.['err']).toMatchObject({ type: 'Error', message: 'refused', code: 'ECONNREFUSED' });
  });

  it('tells errors that Nest hands over beside its message', () => {
    const [line] = linesOf((log) => new NestLog(log).error('a handler failed', fault));
    expect(line?.['nest']).toMatchObject([{ type: 'TypeError' }]);
  });
});
