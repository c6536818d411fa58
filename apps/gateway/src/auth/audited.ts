import { SERVED_KINDS } from '../discovery/index.js';

/** Reads that look into machines and hosts: what tools print, consoles among it. */
const TOOLS: ReadonlySet<string> = new Set(
  SERVED_KINDS.flatMap(({ subresources }) =>
    subresources.filter(({ tool }) => tool !== undefined).map(({ name }) => name),
  ),
);

/** Whether a request is told of in the log: every change, every refusal, and every look into a machine or a host. */
export const isAudited = (method: string, url: string, code: number): boolean => {
  if (method !== 'GET' || code >= 400) return true;
  const [path = ''] = url.split('?', 1);
  const segments = path.replace(/\/+$/, '').split('/');
  return TOOLS.has(segments.at(-1) ?? '') && segments.length > 5;
};
