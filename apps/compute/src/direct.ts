import { once } from 'node:events';
import { request, type IncomingMessage } from 'node:http';
import path from 'node:path';
import { AGENT_SOCKET, directRefusal, toolAnswer } from '@xenolith/contracts';

/**
 * Runs a tool on a host of the agent in whose container it is called: `node direct.js HOST TOOL ARG …`. It prints what the tool prints, and ends with its code; with 1 and
 * a sentence where the agent refuses or does not answer. Needs AGENT_DATA_DIR, and nothing of the control plane.
 */
const direct = async (folder: string, [host, tool, ...args]: readonly string[]): Promise<number> => {
  if (host === undefined || tool === undefined)
    throw new Error('direct.js HOST TOOL ARG …, such as: host-0001 xl list');
  const target = `/hosts/${encodeURIComponent(host)}/${encodeURIComponent(tool)}`;
  const socketPath = path.join(folder, AGENT_SOCKET);
  const asked = request({ socketPath, path: target, method: 'POST' }).end(JSON.stringify({ args }));
  const [response] = (await once(asked, 'response').catch((cause: unknown) => {
    throw new Error(`no agent answers at ${socketPath}: it does not run, or AGENT_DATA_DIR is not its folder`, {
      cause,
    });
  })) as [IncomingMessage];
  let body = '';
  for await (const chunk of response.setEncoding('utf8')) body += String(chunk);
  const answer: unknown = JSON.parse(body);
  if (response.statusCode !== 200) throw new Error(directRefusal.parse(answer).message);
  const { stdout, stderr, exitCode } = toolAnswer.parse(answer);
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  return exitCode;
};

try {
  process.exitCode = await direct(process.env['AGENT_DATA_DIR'] ?? '', process.argv.slice(2));
} catch (error) {
  process.stderr.write(`direct: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
