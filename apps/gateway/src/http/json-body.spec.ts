import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseResourcePath } from './api-path.js';
import { OBJECT_TYPES, parseBody } from './json-body.js';
import { PROTOBUF_TYPE } from './kubernetes-protobuf.js';
import { StatusError } from './status.js';

const field = (number: number, content: string | Buffer): Buffer => {
  const bytes = Buffer.from(content);
  return Buffer.concat([Buffer.from([number * 8 + 2, bytes.length]), bytes]);
};

const protobuf = (kind: string, message: Buffer): Buffer =>
  Buffer.concat([
    Buffer.from('k8s\0'),
    field(1, Buffer.concat([field(1, 'v1'), field(2, kind)])),
    field(2, message),
    field(3, ''),
  ]);

describe('a body', () => {
  it('may be the protobuf of a kind of Kubernetes’ own', () => {
    const labels = [field(1, 'app'), field(2, 'web')];
    const metadata = Buffer.concat([
      field(1, 'team'),
      field(3, ''),
      field(11, Buffer.concat(labels)),
      field(14, 'keep'),
    ]);
    const body = protobuf('Namespace', Buffer.concat([field(1, metadata), field(2, field(1, 'kubernetes'))]));
    expect(parseBody(body, PROTOBUF_TYPE, OBJECT_TYPES)).toEqual({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name: 'team', labels: { app: 'web' }, finalizers: ['keep'] },
      spec: { finalizers: ['kubernetes'] },
    });
  });

  it('may be YAML or JSON of the same type, but no bomb of aliases', () => {
    const type = 'application/apply-patch+yaml';
    expect(parseBody(Buffer.from('a: { b: [1] }'), type, [type])).toEqual({ a: { b: [1] } });
    expect(parseBody(Buffer.from('{"a": {"b": [1]}}'), type, [type])).toEqual({ a: { b: [1] } });
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x]',
      ...'bcdefgh'.split('').map((name, index) => {
        const before = 'abcdefgh'[index] ?? '';
        return `${name}: &${name} [${Array.from({ length: 8 }, () => `*${before}`).join(',')}]`;
      }),
    ].join('\n');
    expect(() => parseBody(Buffer.from(bomb), type, [type])).toThrow(StatusError);
  });

  it('is refused and never breaks anything, whatever its bytes are', () => {
    const types = [...OBJECT_TYPES, 'application/apply-patch+yaml'];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(...types), fc.boolean(), (bytes, type, marked) => {
        const body = Buffer.concat([marked ? Buffer.from('k8s\0') : Buffer.alloc(0), Buffer.from(bytes)]);
        try {
          parseBody(body, type, types);
        } catch (error) {
          expect(error).toBeInstanceOf(StatusError);
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('a path', () => {
  it('is read as kind, namespace, name and subresource', () => {
    const read = (path: string) => {
      const found = parseResourcePath(path);
      return found === null ? null : [found.kind.kind, found.namespace, found.name, found.subresource];
    };
    const machines = '/apis/compute.xenolith.dev/v1alpha1';
    expect(read(`${machines}/virtualmachines`)).toEqual(['VirtualMachine', '', undefined, undefined]);
    expect(read(`${machines}/namespaces/a/virtualmachines/b`)).toEqual(['VirtualMachine', 'a', 'b', undefined]);
    expect(read(`${machines}/namespaces/a/virtualmachines/b/reboot`)).toEqual(['VirtualMachine', 'a', 'b', 'reboot']);
    expect(read(`${machines}/hosts/h`)).toEqual(['Host', '', 'h', undefined]);
    expect(read('/api/v1/namespaces/a')).toEqual(['Namespace', '', 'a', undefined]);
    expect(read('/api/v1/namespaces/a/status')).toEqual(['Namespace', '', 'a', 'status']);
    expect(read('/api/v1/namespaces/a/events/e')).toEqual(['Event', 'a', 'e', undefined]);
    expect(read('/apis/events.k8s.io/v1/events')).toEqual(['Event', '', undefined, undefined]);
    for (const path of [
      `${machines}/virtualmachines/b`,
      `${machines}/namespaces/a/hosts`,
      `${machines}/namespaces/a/virtualmachines/b/c/d`,
      `${machines}/hosts/%2F`,
      `${machines}/hosts/%zz`,
      '/api/v1',
      '/other/v1/x',
    ])
      expect(read(path), path).toBeNull();
  });
});
