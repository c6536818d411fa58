import type { Change } from '../cache/change-ring.js';
import type { KindStore } from '../cache/kind-store.js';
import type { Selection } from '../cache/selection.js';
import { changeFrame, type View } from '../verbs/representation.js';

/** One who watches, once everything up to now was sent to it. */
export interface WatchMember {
  /** `chunk` holds all that it may see of what happened up to `position`. */
  deliver(chunk: Buffer, position: number): void;
}

interface WatchGroup {
  readonly members: Set<WatchMember>;
  readonly stop: () => void;
}

/** All changes of a batch that a selection shows, as one chunk; null: none. */
export const encodeChanges = (view: View, selection: Selection, changes: readonly Change[]): Buffer | null => {
  const frames: Buffer[] = [];
  for (const change of changes) {
    const frame = changeFrame(view, selection, change);
    if (frame !== null) frames.push(frame);
  }
  const [only] = frames;
  if (only === undefined) return null;
  return frames.length === 1 ? only : Buffer.concat(frames);
};

/** Those who watch the same selection in the same view are one group: what happens is selected, encoded and joined once for all of them. */
export class WatchHub {
  private readonly groups = new Map<KindStore, Map<string, WatchGroup>>();

  /** From now on `member` gets each batch of changes; the answer ends that. */
  join(store: KindStore, view: View, selection: Selection, member: WatchMember): () => void {
    let groups = this.groups.get(store);
    if (groups === undefined) {
      groups = new Map();
      this.groups.set(store, groups);
    }
    const ofStore = groups;
    const id = `${view.id}\n${selection.id}`;
    const group = ofStore.get(id) ?? this.open(store, view, selection);
    ofStore.set(id, group);
    group.members.add(member);
    return () => {
      group.members.delete(member);
      if (group.members.size > 0 || ofStore.get(id) !== group) return;
      group.stop();
      ofStore.delete(id);
    };
  }

  private open(store: KindStore, view: View, selection: Selection): WatchGroup {
    const members = new Set<WatchMember>();
    const stop = store.listen((changes) => {
      const chunk = encodeChanges(view, selection, changes);
      const last = changes.at(-1);
      if (chunk === null || last === undefined) return;
      for (const member of members) member.deliver(chunk, last.position);
    });
    return { members, stop };
  }
}
