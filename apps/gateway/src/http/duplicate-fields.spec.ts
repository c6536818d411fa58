import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { duplicateFields } from './duplicate-fields.js';

describe('fields that a JSON text names twice', () => {
  it.each([
    ['{"a":1,"b":2}', []],
    ['{"a":1,"a":2}', [['a']]],
    ['{"a":1,"\\u0061":2,"a":3}', [['a'], ['a']]],
    ['{"spec":{"disks":[{"name":"x"},{"name":"y","size":"1Gi","name":"z"}]}}', [['spec', 'disks', 1, 'name']]],
    ['[{"a":{}},{"a":{"b":[[1,2],{"c":1,"c":2}]}}]', [[1, 'a', 'b', 1, 'c']]],
    ['{"a":"{\\"a\\":1,","b":"]}\\\\","c":"a","d":["a","a"]}', []],
  ])('%s', (text, paths) => {
    expect(duplicateFields(text)).toEqual(paths);
  });

  it('are none in whatever JSON.stringify writes', () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        expect(duplicateFields(text)).toEqual([]);
      }),
    );
  });

  it('are found wherever an object names one again', () => {
    const path = fc.array(fc.oneof(fc.string(), fc.nat(3)), { maxLength: 8 });
    fc.assert(
      fc.property(path, fc.string(), fc.json(), (segments, name, value) => {
        const key = JSON.stringify(name);
        const text = segments.reduceRight<string>(
          (inner, segment) =>
            typeof segment === 'number'
              ? `[${'null,'.repeat(segment)}${inner}]`
              : `{"before":${value},${JSON.stringify(`${segment}!`)}:${inner}}`,
          `{${key}:${value},${key}:1}`,
        );
        const expected = segments.map((segment) => (typeof segment === 'number' ? segment : `${segment}!`));
        expect(duplicateFields(text)).toEqual([[...expected, name]]);
      }),
    );
  });
});
