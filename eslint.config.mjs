import js from '@eslint/js';
import nx from '@nx/eslint-plugin';
import ts from 'typescript-eslint';

const PURE = [
  'libs/kernel',
  'libs/contracts',
  'libs/engine',
  'libs/compute',
  'libs/storage',
  'libs/network',
  'libs/scheduling',
  'libs/tenancy',
  'libs/xen',
  'libs/agent',
];

export default ts.config(
  { ignores: ['**/dist/**', '**/node_modules/**', '.runtime/**', '.xenolith/**', '.nx/**', 'bench/results/**'] },
  js.configs.recommended,
  ...ts.configs.strictTypeChecked.map((config) => ({ ...config, files: ['**/*.ts'] })),
  {
    files: ['**/*.ts'],
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ['vitest.config.ts'] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    plugins: { '@nx': nx },
    rules: {
      'max-lines': ['error', { max: 400, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 70, skipBlankLines: true, skipComments: true }],
      'max-params': ['error', 4],
      'no-console': 'error',
      'no-restricted-syntax': [
        'error',
        { selector: 'TSEnumDeclaration', message: 'Use a union of string literals.' },
        { selector: 'ExportDefaultDeclaration', message: 'Exports are named.' },
      ],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'separate-type-imports' }],
      // Nest's modules are classes whose decorator is all there is to them.
      '@typescript-eslint/no-extraneous-class': ['error', { allowWithDecorator: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error',
        { considerDefaultExhaustiveForUnions: false, requireDefaultForNonUnion: false },
      ],
      '@nx/enforce-module-boundaries': [
        'error',
        {
          enforceBuildableLibDependency: false,
          allow: [],
          depConstraints: [
            { sourceTag: 'layer:kernel', onlyDependOnLibsWithTags: ['layer:kernel'] },
            { sourceTag: 'layer:contracts', onlyDependOnLibsWithTags: ['layer:kernel', 'layer:testing'] },
            {
              sourceTag: 'layer:engine',
              onlyDependOnLibsWithTags: ['layer:kernel', 'layer:contracts', 'layer:testing'],
            },
            {
              sourceTag: 'layer:domain',
              onlyDependOnLibsWithTags: ['layer:kernel', 'layer:contracts', 'layer:engine', 'layer:testing'],
            },
            { sourceTag: 'layer:emulator', onlyDependOnLibsWithTags: ['layer:kernel', 'layer:testing'] },
            // The agent is where the emulated hypervisor meets the contracts.
            {
              sourceTag: 'layer:agent',
              onlyDependOnLibsWithTags: ['layer:kernel', 'layer:contracts', 'layer:emulator', 'layer:testing'],
            },
            {
              sourceTag: 'layer:infrastructure',
              onlyDependOnLibsWithTags: [
                'layer:kernel',
                'layer:contracts',
                'layer:engine',
                'layer:infrastructure',
                'layer:testing',
              ],
            },
            {
              sourceTag: 'layer:testing',
              onlyDependOnLibsWithTags: ['layer:kernel'],
            },
            {
              sourceTag: 'layer:app',
              onlyDependOnLibsWithTags: [
                'layer:kernel',
                'layer:contracts',
                'layer:engine',
                'layer:domain',
                'layer:emulator',
                'layer:agent',
                'layer:infrastructure',
                'layer:testing',
              ],
            },
            {
              sourceTag: 'layer:test',
              onlyDependOnLibsWithTags: [
                'layer:kernel',
                'layer:contracts',
                'layer:engine',
                'layer:domain',
                'layer:emulator',
                'layer:agent',
                'layer:infrastructure',
                'layer:testing',
              ],
            },
          ],
        },
      ],
    },
  },
  {
    files: PURE.map((folder) => `${folder}/src/**/*.ts`),
    ignores: ['**/*.spec.ts'],
    rules: {
      'no-restricted-imports': ['error', { patterns: [{ group: ['node:*'], message: 'This lib is pure: no I/O.' }] }],
      'no-restricted-globals': ['error', 'Date', 'process', 'setTimeout', 'setInterval', 'fetch', 'Buffer', 'crypto'],
      'no-restricted-properties': [
        'error',
        { object: 'Math', property: 'random', message: 'Use the seeded Random of the kernel.' },
      ],
    },
  },
  {
    files: ['**/*.spec.ts', '**/*.conformance.ts', 'test/**/*.ts', 'libs/testing/**/*.ts', 'bench/**/*.ts'],
    rules: { 'max-lines-per-function': 'off', 'max-lines': 'off' },
  },
  { files: ['apps/cli/**/*.ts', 'test/simulation/**/*.ts', 'bench/**/*.ts'], rules: { 'no-console': 'off' } },
  {
    files: ['**/*.mjs', 'vitest.config.ts'],
    ...ts.configs.disableTypeChecked,
    rules: { ...ts.configs.disableTypeChecked.rules, 'no-restricted-syntax': 'off' },
  },
);
