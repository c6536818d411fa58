import { runService } from '@xenolith/runtime';
import { gatewayProgram } from './gateway-program.js';

await runService(gatewayProgram);
