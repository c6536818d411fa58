import type { PlacementRequest } from '@xenolith/contracts';
import type { Uuid } from '@xenolith/kernel';

/** The word of anti-affinity that a machine shares with others of its namespace. */
export const wordOf = ({ antiAffinity, virtualMachine }: PlacementRequest): string | null =>
  antiAffinity === undefined ? null : `${virtualMachine.namespace}/${antiAffinity}`;

/** Hosts, by uid, where machines of each word are. */
export class WordBook {
  private readonly words = new Map<string, Map<Uuid, number>>();

  clear(): void {
    this.words.clear();
  }

  hostsOf(request: PlacementRequest): ReadonlyMap<Uuid, number> | undefined {
    const word = wordOf(request);
    return word === null ? undefined : this.words.get(word);
  }

  count(request: PlacementRequest, hostUid: Uuid, change: 1 | -1): void {
    const word = wordOf(request);
    if (word === null) return;
    const hosts = this.words.get(word) ?? new Map<Uuid, number>();
    const count = (hosts.get(hostUid) ?? 0) + change;
    if (count > 0) hosts.set(hostUid, count);
    else hosts.delete(hostUid);
    if (hosts.size > 0) this.words.set(word, hosts);
    else this.words.delete(word);
  }
}
