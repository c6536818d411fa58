/**
 * How programs are bundled, for the images and for the checkout: ES modules that need nothing but Node, with their source maps beside them. `input` names
 * each program's compiled entry point; what several of them use they share.
 */
export const bundle = (input, dir) => ({
  input,
  platform: 'node',
  // Nest and others try at run time whether a package of somebody's choice is there. None of these is.
  checks: { unresolvedImport: false },
  output: {
    dir,
    format: 'esm',
    sourcemap: true,
    // Nest's decorators find reflect-metadata only if it runs first, as the programs import it.
    strictExecutionOrder: true,
  },
});
