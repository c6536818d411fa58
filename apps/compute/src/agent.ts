import { agentUser } from '@xenolith/contracts';
import { runProcess } from '@xenolith/runtime';
import { agentConfig } from './agent/config.js';
import { FleetProcess } from './agent/run-agent.js';

const fleet = new FleetProcess();

await runProcess({
  name: 'agent',
  config: agentConfig,
  busUser: ({ AGENT_FLEET }) => agentUser(AGENT_FLEET),
  prepare: (context) => fleet.open(context),
  start: (context) => fleet.start(context),
});
