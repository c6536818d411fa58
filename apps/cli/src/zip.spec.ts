import { deflateRawSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { readZipEntry } from './zip.js';

interface Entry {
  readonly name: string;
  readonly content: string;
  readonly deflate: boolean;
}

const archiveOf = (entries: readonly Entry[]): Buffer => {
  const bodies: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const { name, content, deflate } of entries) {
    const packed = deflate ? deflateRawSync(content) : Buffer.from(content);
    const local = Buffer.alloc(30);
    local.writeUInt32LE(0x04034b50, 0);
    local.writeUInt16LE(name.length, 26);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(deflate ? 8 : 0, 10);
    central.writeUInt32LE(packed.length, 20);
    central.writeUInt16LE(name.length, 28);
    central.writeUInt32LE(offset, 42);
    bodies.push(local, Buffer.from(name), packed);
    directory.push(central, Buffer.from(name));
    offset += local.length + name.length + packed.length;
  }
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...bodies, ...directory, end]);
};

describe('a ZIP archive', () => {
  const archive = archiveOf([
    { name: 'helm/helm', content: 'first', deflate: false },
    { name: 'kubectl/kubectl', content: 'second '.repeat(100), deflate: true },
  ]);

  it('gives stored and compressed entries', () => {
    expect(readZipEntry(archive, 'helm/helm').toString()).toBe('first');
    expect(readZipEntry(archive, 'kubectl/kubectl').toString()).toBe('second '.repeat(100));
  });

  it('says which entry is missing', () => {
    expect(() => readZipEntry(archive, 'kubectl')).toThrow('no file kubectl');
  });

  it('says that it is damaged when it is cut short', () => {
    expect(() => readZipEntry(archive.subarray(0, 60), 'helm/helm')).toThrow('damaged');
  });
});
