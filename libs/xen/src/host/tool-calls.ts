import { failed, invalidDomain, printed, type ToolOutput } from '../xl/index.js';
import type { Host } from './host-state.js';
import { domainsAt, nameOfDomain } from './tool-facts.js';

/** A tool of Dom0 as somebody calls it there; `nowUs` is the moment of the call. */
export interface Call {
  readonly host: Host;
  readonly args: readonly string[];
  readonly nowUs: number;
}
export type Tool = (call: Call) => ToolOutput;

/** The flags that a call has of those that the tool knows, and what else it has; or the first flag that it does not know. */
export const split = (args: readonly string[], known: string): { flags: Set<string>; rest: string[] } | string => {
  const flags = new Set<string>();
  const rest: string[] = [];
  for (const arg of args) {
    if (!/^-[A-Za-z]+$/.test(arg)) {
      rest.push(arg);
      continue;
    }
    for (const flag of arg.slice(1)) {
      if (!known.includes(flag)) return flag;
      flags.add(flag);
    }
  }
  return { flags, rest };
};

export const unknownFlag = (flag: string): ToolOutput => failed(`option \`${flag}' not supported.`);

/** A domain by its number or its name, as `find_domain` of tools/xl/xl_utils.c looks for it; null: there is none. */
export const domidOf = (host: Host, asked: string): number | null => {
  const domids = Object.keys(host.state.hypervisor.domains).map(Number);
  const found = /^\d+$/.test(asked)
    ? domids.find((domid) => domid === Number(asked))
    : domids.find((domid) => nameOfDomain(host, domid) === asked);
  return found ?? null;
};

/** The domains that a call names; all where it names none; the tool's refusal where one is not there. */
export const chosen = ({ host, nowUs }: Call, names: readonly string[], refuse: (asked: string) => ToolOutput) => {
  const all = domainsAt(host, nowUs);
  if (names.length === 0) return all;
  const domids = names.map((name) => [name, domidOf(host, name)] as const);
  const missing = domids.find(([, domid]) => domid === null);
  if (missing) return refuse(missing[0]);
  return all.filter(({ domid }) => domids.some(([, wanted]) => wanted === domid));
};

export const isRefusal = (found: object): found is ToolOutput => 'exitCode' in found;

/** Of one domain, which the call must name. */
export const ofDomain =
  (command: string, text: (host: Host, domid: number) => string): Tool =>
  ({ host, args }) => {
    const [asked] = args;
    if (asked === undefined) return failed(`'xl ${command}' requires at least 1 argument.`);
    const domid = domidOf(host, asked);
    return domid === null ? invalidDomain(asked) : printed(text(host, domid));
  };
