import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { commandFor, dataFolder } from '../folders.js';
import { readKubeconfig, refusalOf } from '../replay/api-client.js';
import { messageOf, UserError } from '../terminal.js';
import { splitDataFlag } from './kubectl.js';

const HOSTS = '/apis/compute.xenolith.dev/v1alpha1/hosts';
const TIMEOUT_MS = 30_000;

const get = async (file: string, target: string): Promise<{ response: IncomingMessage; body: string }> => {
  const access = await readKubeconfig(file);
  const headers = { Accept: 'text/plain', ...(access.token ? { Authorization: `Bearer ${access.token}` } : {}) };
  try {
    const asked = request(new URL(target, access.server), {
      headers,
      ...access.tls,
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    asked.end();
    const [response] = (await once(asked, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of response.setEncoding('utf8')) body += String(chunk);
    return { response, body };
  } catch (cause) {
    throw new UserError(`the platform at ${access.server} does not answer: ${messageOf(cause)}`, [
      'Start it with: ./xenolith up',
    ]);
  }
};

const parsed = (body: string): unknown => {
  try {
    return JSON.parse(body);
  } catch {
    return null;
  }
};

/** Runs a tool in a host's control domain, through the API. Its output and exit code are ours. */
export const hostTool = async (tool: 'xl' | 'xenstore', args: readonly string[]): Promise<number> => {
  const { data, rest } = splitDataFlag(args);
  const [host, ...toolArgs] = rest;
  if (host === undefined || host.startsWith('-'))
    throw new UserError(`name the host, such as: ./xenolith ${tool} host-0001 help`, [
      'List them with: ./xenolith kubectl get hosts',
    ]);
  const folder = dataFolder(data);
  const file = process.env['KUBECONFIG'] ?? folder.kubeconfigFile;
  if (!existsSync(file))
    throw new UserError(`there is no platform in ${folder.root} yet.`, [`Start one with: ${commandFor(folder, 'up')}`]);
  const query = toolArgs.map((arg) => `arg=${encodeURIComponent(arg)}`).join('&');
  const { response, body } = await get(file, `${HOSTS}/${encodeURIComponent(host)}/${tool}?${query}`);
  const code = response.headers['xenolith-exit-code'];
  if (typeof code !== 'string') {
    const { message } = refusalOf({ status: response.statusCode ?? 0, body: parsed(body) });
    throw new UserError(message, ['List the hosts with: ./xenolith kubectl get hosts']);
  }
  process.stdout.write(body);
  process.stderr.write(decodeURIComponent(String(response.headers['xenolith-stderr'] ?? '')));
  return Number(code);
};
