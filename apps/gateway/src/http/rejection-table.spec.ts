import { REJECTION_CODES } from '@xenolith/contracts';
import { BusFault, type BusFaultKind } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import { HTTP_OF_REJECTION, statusOfFault, statusOfRejection } from './rejection-table.js';

describe('the table of refusals', () => {
  it.each([...REJECTION_CODES])('has an HTTP status and a reason for %s', (code) => {
    const status = statusOfRejection({ code, message: 'because' });
    expect(HTTP_OF_REJECTION[code].code).toBeGreaterThanOrEqual(400);
    expect(status.body).toMatchObject({
      kind: 'Status',
      apiVersion: 'v1',
      status: 'Failure',
      message: 'because',
      code: HTTP_OF_REJECTION[code].code,
      reason: expect.stringMatching(/^[A-Z][A-Za-z]+$/) as unknown,
    });
  });

  it('holds no code that nobody uses', () => {
    const gatewayOnly = ['request_malformed', 'not_acceptable', 'apply_conflict'];
    const known: readonly string[] = [...REJECTION_CODES, ...gatewayOnly];
    expect(Object.keys(HTTP_OF_REJECTION).filter((code) => !known.includes(code))).toEqual([]);
  });

  it('names one cause for each wrong field, and the kind of what is invalid', () => {
    const causes = [{ field: 'spec.memory', reason: 'FieldValueRequired', message: 'Required value' }];
    const kind = { group: 'compute.xenolith.dev', plural: 'virtualmachines', kind: 'VirtualMachine' };
    const status = statusOfRejection({ code: 'object_invalid', message: 'no', causes }, { kind, name: 'web' });
    expect(status.body['details']).toEqual({ name: 'web', group: kind.group, kind: 'VirtualMachine', causes });
  });

  it('answers 500 for a code that only a newer service knows', () => {
    expect(statusOfRejection({ code: 'of_tomorrow', message: 'no' }).code).toBe(500);
  });

  it.each<[BusFaultKind, number]>([
    ['timeout', 504],
    ['no_responders', 503],
    ['overloaded', 503],
    ['disconnected', 503],
    ['fault', 503],
  ])('answers a fault of kind %s with %i and when to ask again', (kind, code) => {
    const status = statusOfFault(new BusFault(kind, 'it failed'));
    expect(status.code).toBe(code);
    expect(status.source.details?.retryAfterSeconds).toBeGreaterThan(0);
  });
});
