import { agentUser } from '@xenolith/contracts';
import { runProcess } from '@xenolith/runtime';
import { agentConfig } from './agent/config.js';
import { runAgent } from './agent/run-agent.js';

await runProcess({
  name: 'agent',
  config: agentConfig,
  busUser: ({ AGENT_FLEET }) => agentUser(AGENT_FLEET),
  start: runAgent,
});
