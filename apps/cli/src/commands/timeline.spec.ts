import type { TimelineEntry } from '@xenolith/event-store';
import { CloudEvent } from 'cloudevents';
import { describe, expect, it } from 'vitest';
import { cloudEvent, jsonLine, textLine } from './timeline-text.js';
import { wantedOf } from './timeline.js';

const entry: TimelineEntry = {
  event: {
    eventId: '5f0a4e26-6f0b-8a5e-9d49-0a4b4f6b8c11',
    streamId: '11111111-2222-8333-8444-555555555555',
    category: 'virtualmachine',
    version: 3,
    type: 'VirtualMachineStarted',
    schemaVersion: 1,
    data: { host: 'host-0001', domid: 7 },
    metadata: {
      commandId: 'a0000000-0000-8000-8000-000000000001',
      command: 'RecordStepsSucceeded',
      correlationId: 'a0000000-0000-8000-8000-000000000002',
      causationId: 'a0000000-0000-8000-8000-000000000003',
      actor: 'process:operations',
      traceparent: '00-57b4ac7feddb834dd5ce527a0d691350-9b8b52e441de6a23-00',
      at: 1,
    },
    position: 3_000_000_000,
    recordedAt: Date.parse('2026-06-15T12:00:00.123Z'),
  },
  object: { namespace: 'default', name: 'web-1' },
};
const LOG_ID = '0d5f3b86-0f0e-4a3c-9a51-6d2f8a1c7e01';

describe('an event of a timeline', () => {
  it('is a CloudEvent that the reference library finds valid', () => {
    const event = new CloudEvent(cloudEvent(entry, LOG_ID), true);
    expect(event.validate()).toBe(true);
    expect(event).toMatchObject({
      specversion: '1.0',
      type: 'dev.xenolith.virtualmachine.VirtualMachineStarted.v1',
      source: `/xenolith/logs/${LOG_ID}`,
      subject: 'virtualmachine/default/web-1',
      sequence: '3000000000',
      data: { host: 'host-0001' },
    });
    const withoutName: TimelineEntry = { ...entry, object: null };
    expect(new CloudEvent(cloudEvent(withoutName, LOG_ID)).validate()).toBe(true);
  });

  it('is a line of JSON, or of text', () => {
    expect(JSON.parse(jsonLine(entry))).toMatchObject({
      kind: 'VirtualMachine',
      namespace: 'default',
      name: 'web-1',
      time: '2026-06-15T12:00:00.123Z',
      command: { type: 'RecordStepsSucceeded' },
    });
    expect(textLine(entry)).toMatch(
      /3000000000 {2}2026-.*process:operations +VirtualMachineStarted +virtualmachine\/default\/web-1$/,
    );
  });

  it.each([
    [{}, true],
    [{ kind: 'vm', actor: 'operations', object: 'vm/web-1' }, true],
    [{ object: 'virtualmachines/default/web-1' }, true],
    [{ object: '11111111-2222-8333-8444-555555555555' }, true],
    [{ actor: 'process:operations' }, true],
    [{ object: 'vm/other/web-1' }, false],
    [{ kind: 'host' }, false],
    [{ actor: 'admin' }, false],
  ])('is let through by the filters that it meets: %j', (filters, expected) => {
    expect(wantedOf(filters)(entry)).toBe(expected);
  });

  it('says which words there are when a kind is none', () => {
    expect(() => wantedOf({ kind: 'spoon' })).toThrow('there is no kind "spoon"');
  });
});
