import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { eventsOf, parseLine, readTrace, type TraceMachine } from './trace.js';

const machine = (change: Partial<TraceMachine>): TraceMachine => ({
  id: '1',
  cores: 100,
  ram: 4,
  start: 0,
  end: 1,
  ...change,
});

describe('a trace', () => {
  it('holds machines that ran before it began and outlive it', () => {
    expect(parseLine('10939,3560,30.0,7.0,0,-1497.0,inf\r')).toEqual({
      id: '10939',
      cores: 30,
      ram: 7,
      start: -1497,
      end: Number.POSITIVE_INFINITY,
    });
  });

  it.each([
    ['1,2,3', 'fields'],
    ['1,2,x,7,0,0,1', 'cores'],
    ['1,2,30,0,0,0,1', 'ram'],
    ['1,2,30,7,0,inf,inf', 'starttime'],
    ['1,2,30,7,0,5,4', 'endtime'],
    ['1,2,30,7,0,5,', 'endtime'],
  ])('says what is wrong with %s', (line, word) => {
    expect(parseLine(line)).toContain(word);
  });

  it('lets machines go before others come at the same time, but never before they came', () => {
    const events = eventsOf([
      machine({ start: 0, end: 2 }),
      machine({ start: 2, end: 2 }),
      machine({ start: 2, end: Number.POSITIVE_INFINITY }),
    ]);
    expect(events.map(({ kind, machine: index }) => `${kind} ${index}`)).toEqual([
      'create 0',
      'delete 0',
      'create 1',
      'create 2',
      'delete 1',
    ]);
  });

  it('is read as far as the limit says, and names the line that cannot be read', async () => {
    const folder = await mkdtemp(path.join(tmpdir(), 'xenolith-trace-'));
    const file = path.join(folder, 'trace.csv');
    const header = 'vmId,tenantId,cores,ram,vmTypeId,starttime,endtime';
    await writeFile(file, `${header}\r\n1,1,100,4,0,0,1\r\n2,1,100,4,0,0,1\r\nnonsense\r\n`);
    expect(await readTrace(file, 2)).toHaveLength(2);
    await expect(readTrace(file, 3)).rejects.toThrow(/line 4/);
    await writeFile(file, `${header}\n`);
    await expect(readTrace(file, 3)).rejects.toThrow(/holds no machine/);
    await writeFile(file, 'a,b\n');
    await expect(readTrace(file, 3)).rejects.toThrow(/line 1/);
    await expect(readTrace(path.join(folder, 'absent.csv'), 3)).rejects.toThrow(/cannot read the trace/);
    await rm(folder, { recursive: true });
  });
});
