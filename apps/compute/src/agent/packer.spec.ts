import fc from 'fast-check';
import { expect, it } from 'vitest';
import { deflatePacker } from './packer.js';

it('gives back every text that it packed', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), (text) => {
      expect(deflatePacker.unpack(deflatePacker.pack(text))).toBe(text);
    }),
  );
});
