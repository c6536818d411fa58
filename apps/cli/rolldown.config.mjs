// Bundles the programs that `./xenolith` and its supervisor start, after tsc: node_modules/.bin/rolldown -c apps/cli/rolldown.config.mjs
import { bundle } from '../../deploy/bundling.mjs';
import { BUNDLES, COMPILED } from './dist/programs.js';

export default bundle(COMPILED, BUNDLES);
