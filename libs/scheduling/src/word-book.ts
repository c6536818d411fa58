import type { PlacementRequest } from '@xenolith/contracts';

/** The word of anti-affinity that a machine shares with others of its namespace. */
export const wordOf = ({ antiAffinity, virtualMachine }: PlacementRequest): string | null =>
  antiAffinity === undefined ? null : `${virtualMachine.namespace}/${antiAffinity}`;

/** Hosts where machines of each word are, by whatever names a host: its uid, or its slot. */
export class WordBook<Host> {
  private readonly words = new Map<string, Map<Host, number>>();

  clear(): void {
    this.words.clear();
  }

  hostsOf(request: PlacementRequest): ReadonlyMap<Host, number> | undefined {
    const word = wordOf(request);
    return word === null ? undefined : this.words.get(word);
  }

  count(request: PlacementRequest, host: Host, change: 1 | -1): void {
    const word = wordOf(request);
    if (word === null) return;
    const hosts = this.words.get(word) ?? new Map<Host, number>();
    const count = (hosts.get(host) ?? 0) + change;
    if (count > 0) hosts.set(host, count);
    else hosts.delete(host);
    if (hosts.size > 0) this.words.set(word, hosts);
    else this.words.delete(word);
  }
}
