import { present, type JsonObject } from '@xenolith/kernel';
import { describe, expect, it } from 'vitest';
import { findServedKind } from '../discovery/served-kinds.js';
import {
  compileJsonPath,
  humanDuration,
  negotiate,
  parseFieldSelector,
  parseLabelSelector,
  partialObjectMetadataList,
  tableOf,
} from './index.js';

const machines = present(findServedKind('compute.xenolith.dev', 'v1alpha1', 'virtualmachines'), 'machines are served');
const events = present(findServedKind('', 'v1', 'events'), 'events are served');
const NOW = Date.parse('2026-11-21T12:00:00Z');

const machine = (name: string, more: JsonObject = {}): JsonObject => ({
  apiVersion: 'compute.xenolith.dev/v1alpha1',
  kind: 'VirtualMachine',
  metadata: {
    name,
    namespace: 'default',
    creationTimestamp: '2026-11-21T11:58:30Z',
    labels: { app: 'web', tier: '2' },
  },
  spec: { powerState: 'Running', cpu: { vcpus: 2 }, memory: '4Gi', guestType: 'pvh' },
  status: {
    phase: 'Running',
    memory: '4Gi',
    host: 'host-0003',
    nics: [{ name: 'eth0', ips: ['10.0.0.7', '10.0.0.8'] }],
    conditions: [
      { type: 'Scheduled', reason: 'Placed' },
      { type: 'Ready', reason: 'DomainRunning' },
    ],
  },
  ...more,
});

const options = {
  version: 'v1',
  includeObject: 'Metadata',
  now: NOW,
  listMetadata: { resourceVersion: '17' },
} as const;

describe('a table', () => {
  it('has the name first, and ages as durations', () => {
    const table = tableOf(machines, [machine('web-1')], options);
    expect(table).toMatchObject({ kind: 'Table', apiVersion: 'meta.k8s.io/v1', metadata: { resourceVersion: '17' } });
    const [row] = table['rows'] as JsonObject[];
    expect(row?.['cells']).toEqual([
      'web-1',
      'Running',
      2,
      '4Gi',
      'host-0003',
      '10.0.0.7',
      '90s',
      null,
      'pvh',
      'Running',
      'DomainRunning',
    ]);
    expect(row?.['object']).toEqual({
      kind: 'PartialObjectMetadata',
      apiVersion: 'meta.k8s.io/v1',
      metadata: machine('web-1')['metadata'],
    });
  });

  it('shows what is not there as null, in every column', () => {
    const bare: JsonObject = { metadata: { name: 'bare' } };
    const [row] = tableOf(machines, [bare], options)['rows'] as JsonObject[];
    expect(row?.['cells']).toEqual(['bare', ...new Array<null>(10).fill(null)]);
  });

  it('shows lists of words as words, and an empty list as what it means', () => {
    const rules = present(findServedKind('chaos.xenolith.dev', 'v1alpha1', 'faultrules'), 'fault rules are served');
    const rule = (...hosts: string[]): JsonObject => ({ metadata: { name: 'rule' }, spec: { match: { hosts } } });
    const table = tableOf(rules, [rule('host-0001', 'host-0002'), rule()], options);
    const hosts = (table['rows'] as { cells: unknown[] }[]).map(({ cells }) => cells[2]);
    expect(hosts).toEqual(['host-0001,host-0002', '*']);
  });

  it('carries the object, or none, as asked', () => {
    const rowOf = (includeObject: 'None' | 'Object'): JsonObject =>
      present((tableOf(machines, [machine('a')], { ...options, includeObject })['rows'] as JsonObject[])[0], 'one row');
    expect(rowOf('None')['object']).toBeNull();
    expect(rowOf('Object')['object']).toEqual(machine('a'));
  });

  it('describes the columns once, with priorities for wide output', () => {
    const definitions = tableOf(machines, [], options)['columnDefinitions'] as JsonObject[];
    expect(definitions[0]).toMatchObject({ name: 'Name', type: 'string', format: 'name', priority: 0 });
    expect(definitions.at(-1)).toMatchObject({ name: 'Reason', priority: 1 });
    expect(tableOf(machines, [], { ...options, withoutColumns: true })['columnDefinitions']).toBeNull();
  });

  it('reads like kubectl get events', () => {
    const event: JsonObject = {
      metadata: { name: 'web-1.17' },
      involvedObject: { kind: 'VirtualMachine', name: 'web-1' },
      reason: 'Started',
      type: 'Normal',
      message: 'runs on host-0003',
      source: { component: 'compute' },
      firstTimestamp: '2026-11-21T11:50:00Z',
      lastTimestamp: '2026-11-21T11:59:30Z',
      count: 3,
    };
    const [row] = tableOf(events, [event], options)['rows'] as JsonObject[];
    expect(row?.['cells']).toEqual([
      '30s (x3 over 10m)',
      'Normal',
      'Started',
      'virtualmachine/web-1',
      '',
      'compute',
      'runs on host-0003',
      '10m',
      3,
      'web-1.17',
    ]);
  });

  it('lists metadata alone', () => {
    const list = partialObjectMetadataList([machine('a')], { resourceVersion: '9' }, 'v1');
    expect(list).toMatchObject({ kind: 'PartialObjectMetadataList', items: [{ metadata: { name: 'a' } }] });
  });
});

describe('an age', () => {
  const SECOND = 1000,
    MINUTE = 60 * SECOND,
    HOUR = 60 * MINUTE,
    DAY = 24 * HOUR;
  it.each([
    [-5 * SECOND, '<invalid>'],
    [-SECOND, '0s'],
    [0, '0s'],
    [119 * SECOND, '119s'],
    [2 * MINUTE, '2m'],
    [2 * MINUTE + 5 * SECOND, '2m5s'],
    [10 * MINUTE + 5 * SECOND, '10m'],
    [179 * MINUTE, '179m'],
    [3 * HOUR + 20 * MINUTE, '3h20m'],
    [8 * HOUR + 20 * MINUTE, '8h'],
    [47 * HOUR, '47h'],
    [2 * DAY, '2d'],
    [5 * DAY + 3 * HOUR, '5d3h'],
    [8 * DAY + 3 * HOUR, '8d'],
    [729 * DAY, '729d'],
    [3 * 365 * DAY + 120 * DAY, '3y120d'],
    [9 * 365 * DAY, '9y'],
  ])('of %i ms reads %s', (durationMs, text) => expect(humanDuration(durationMs)).toBe(text));
});

describe('a JSON path', () => {
  const object = {
    a: {
      'b.c': [
        { x: 'y', n: 1 },
        { x: 'z', n: 2 },
      ],
    },
  };
  it.each([
    ['.a.b\\.c[1].n', 2],
    [".a['b.c'][0].n", 1],
    ['.a.b\\.c[-1].x', 'z'],
    ['.a.b\\.c[?(@.x=="z")].n', 2],
    ['.a.b\\.c[*].n', 1],
    ['.a.nothing[0].n', undefined],
    ['.a.b\\.c.n', undefined],
  ])('%s', (path, value) => expect(compileJsonPath(path)(object)).toEqual(value));

  it('that cannot be read is a defect', () => expect(() => compileJsonPath('.a[')).toThrow(/JSONPath/));
});

describe('negotiation', () => {
  const formOf = (accept: string | undefined): string => {
    const result = negotiate(accept);
    return result.ok ? `${result.value.as} ${result.value.version}` : result.rejection.code;
  };
  it.each([
    [undefined, 'Object v1'],
    ['*/*', 'Object v1'],
    [
      'application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json',
      'Table v1',
    ],
    ['application/json;as=Table;g=meta.k8s.io;v=v1beta1', 'Table v1beta1'],
    [
      'application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json',
      'PartialObjectMetadataList v1',
    ],
    ['application/vnd.kubernetes.protobuf, application/json', 'Object v1'],
    ['application/json;q=0.1, application/json;as=Table;v=v1;g=meta.k8s.io', 'Table v1'],
    ['text/html', 'not_acceptable'],
    ['application/json;as=Table;v=v2;g=meta.k8s.io', 'not_acceptable'],
  ])('of %s', (accept, form) => expect(formOf(accept)).toBe(form));
});

describe('a label selector', () => {
  const selects = (text: string): boolean | string => {
    const selector = parseLabelSelector(text);
    return selector.ok ? selector.value(machine('web-1')) : selector.rejection.code;
  };
  it.each([
    ['', true],
    ['app=web', true],
    ['app==web,tier=2', true],
    ['app = web , tier != 3', true],
    ['app!=web', false],
    ['other!=web', true],
    ['app in (db, web)', true],
    ['app in (db),tier', false],
    ['app notin (db,web)', false],
    ['other notin (db,web)', true],
    ['app', true],
    ['!app', false],
    ['!other', true],
    ['tier>1,tier<3', true],
    ['tier>2', false],
    ['other=', false],
    ['toString', false],
    ['app=web x', 'request_malformed'],
    ['app in web', 'request_malformed'],
    ['=web', 'request_malformed'],
    ['-app=web', 'request_malformed'],
    ['a/b/c=web', 'request_malformed'],
    ['tier>x', 'request_malformed'],
  ])('%s', (text, expected) => expect(selects(text)).toBe(expected));
});

describe('a field selector', () => {
  const selects = (text: string): boolean | string => {
    const selector = parseFieldSelector(machines, text);
    return selector.ok ? selector.value.matches(machine('web-1')) : selector.rejection.code;
  };
  it.each([
    ['', true],
    ['metadata.name=web-1', true],
    ['metadata.name!=web-1', false],
    ['spec.powerState==Running,status.host=host-0003', true],
    ['status.phase=Halted', false],
    ['metadata.namespace=default', true],
    ['metadata.name=a\\,b', false],
    ['spec.cpu=2', 'request_malformed'],
    ['nonsense', 'request_malformed'],
  ])('%s', (text, expected) => expect(selects(text)).toBe(expected));

  it('tells which name it asks for', () => {
    expect(parseFieldSelector(machines, 'metadata.name=web-1')).toMatchObject({ value: { name: 'web-1' } });
    expect(
      parseFieldSelector(machines, 'metadata.name!=web-1').ok &&
        'name' in parseFieldSelector(machines, 'metadata.name!=web-1'),
    ).toBe(false);
  });

  it('selects events by the object that they are about', () => {
    const selector = parseFieldSelector(
      events,
      'involvedObject.name=web-1,involvedObject.kind=VirtualMachine,source=compute',
    );
    const event = { involvedObject: { name: 'web-1', kind: 'VirtualMachine' }, source: { component: 'compute' } };
    expect(selector.ok && selector.value.matches(event)).toBe(true);
  });
});
