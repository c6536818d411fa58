import { writeFile } from 'node:fs/promises';
import { PLATFORM, renderPlain } from './plain.js';

await writeFile(PLATFORM, await renderPlain());
process.stdout.write(`wrote ${PLATFORM}\n`);
