// A client of the API for the chart's scripts, which have nothing but Node.
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:https';
import process from 'node:process';

const { API_HOST, API_PORT = '443', TOKENS_FILE, CA_FILE } = process.env;
const REQUEST_LIMIT_MS = 10_000;

const [{ token }] = JSON.parse(readFileSync(TOKENS_FILE, 'utf8'));
const agent = new Agent({ ca: CA_FILE ? readFileSync(CA_FILE) : undefined, keepAlive: true });

/** The answer as it comes; its body is still to be read. */
export const send = (method, path, { body, type = 'application/json' } = {}) =>
  new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, accept: 'application/json', 'content-type': type };
    const sent = request({ host: API_HOST, port: Number(API_PORT), path, method, agent, headers }, resolve);
    sent.on('error', reject);
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });

/** The object that is answered; throws with the server's words when it refuses. */
export const ask = async (method, path, more) => {
  const answer = await send(method, path, more);
  answer.setTimeout(REQUEST_LIMIT_MS, () => answer.destroy(new Error(`${method} ${path}: no answer`)));
  let text = '';
  for await (const chunk of answer.setEncoding('utf8')) text += chunk;
  if (answer.statusCode >= 300) throw new Error(`${method} ${path}: ${answer.statusCode} ${text}`);
  return JSON.parse(text);
};
