import { describe, expect, it } from 'vitest';
import { globOf } from './glob.js';

describe('a glob', () => {
  it.each([
    ['host-*', 'host-0001', true],
    ['host-?', 'host-12', false],
    ['a.b', 'axb', false],
    ['web', 'web-1', false],
    ['*/web-?', 'shop/web-1', true],
  ])('%s of %s: %s', (pattern, text, matches) => {
    expect(globOf(pattern).test(text)).toBe(matches);
  });
});
