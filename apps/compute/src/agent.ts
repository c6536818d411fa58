import { runProcess } from '@xenolith/runtime';
import { agentConfig } from './agent/config.js';
import { runAgent } from './agent/run-agent.js';

await runProcess({ name: 'agent', config: agentConfig, start: runAgent });
