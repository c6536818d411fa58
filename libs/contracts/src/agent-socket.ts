import { z } from 'zod';
import { HOST_TOOLS } from './compute/host.messages.js';

/** In the agent's data folder: the socket at which it answers whoever may open it, while the control plane is up or not. */
export const AGENT_SOCKET = 'agent.sock';

/** Answer of `GET /hosts`. `up`: its tools answer. */
export const directHosts = z.strictObject({
  hosts: z.array(z.strictObject({ name: z.string(), up: z.boolean() })),
});
export type DirectHosts = z.infer<typeof directHosts>;

/** Where `POST /hosts/{host}/{tool}` runs a tool; the answer is `toolAnswer`. */
export const directTool = z.enum(HOST_TOOLS);

/** Body of that. */
export const directCall = z.strictObject({
  args: z.array(z.string().max(4096)).max(32),
  /** A call that is repeated with the same id does nothing twice. Absent: it is a new one. */
  commandId: z.uuid().optional(),
});

/** Answer of what is refused: 400 for what is no call, 404 for a host that is not there, 503 for one that does not answer. */
export const directRefusal = z.strictObject({ message: z.string() });
