import type { StorePath } from './store-path.js';
import type { WatchState } from './xenstore-state.js';

export interface Watcher {
  readonly domid: number;
  /** Of the domain's connection: events go to connections in this order. */
  readonly connection: number;
  readonly watch: WatchState;
}

interface Level {
  readonly watchers: Watcher[];
  readonly below: Map<string, Level>;
}

const emptyLevel = (): Level => ({ watchers: [], below: new Map() });

/** How far an event reaches: to watches of the very path, or also to watches of its ancestors. */
export type Reach = 'exact' | 'subtree';

const byOrder = (one: Watcher, other: Watcher): number =>
  one.connection - other.connection || one.watch.order - other.watch.order;

const inOrder = (found: Watcher[]): readonly Watcher[] => (found.length > 1 ? found.sort(byOrder) : found);

/** Watches by the steps of their paths, so that a change looks at those above it only, however many there are. */
export class WatchIndex {
  readonly #root: Level = emptyLevel();

  add(path: StorePath, watcher: Watcher): void {
    let level = this.#root;
    for (const step of path.steps) {
      let next = level.below.get(step);
      if (!next) {
        next = emptyLevel();
        level.below.set(step, next);
      }
      level = next;
    }
    level.watchers.push(watcher);
  }

  remove(path: StorePath, watch: WatchState): void {
    const way: Level[] = [this.#root];
    for (const step of path.steps) {
      const next = way.at(-1)?.below.get(step);
      if (!next) return;
      way.push(next);
    }
    const last = way.at(-1);
    const index = last?.watchers.findIndex((watcher) => watcher.watch === watch) ?? -1;
    if (index >= 0) last?.watchers.splice(index, 1);
    for (let depth = way.length - 1; depth > 0; depth -= 1) {
      const level = way[depth];
      const step = path.steps[depth - 1];
      if (!level || step === undefined || level.watchers.length > 0 || level.below.size > 0) return;
      way[depth - 1]?.below.delete(step);
    }
  }

  /** Those whom a change of `path` concerns (tools/xenstored/watch.c `fire_watches`, `is_child`). */
  of(path: StorePath, reach: Reach): readonly Watcher[] {
    return reach === 'exact' ? this.#at(path) : this.#above(path);
  }

  /**
   * Those who wait for a special event: without the domain those who asked for no depth, with it those who named the domain or asked for the
   * level below.
   */
  ofSpecial(
    path: StorePath,
    domid: number,
  ): { readonly plain: readonly Watcher[]; readonly named: readonly Watcher[] } {
    const [name] = path.steps;
    const level = name === undefined ? undefined : this.#root.below.get(name);
    if (!level) return { plain: [], named: [] };
    const plain = level.watchers.filter(({ watch }) => watch.depth === null);
    const deep = level.watchers.filter(({ watch }) => (watch.depth ?? 0) > 0);
    return { plain: inOrder(plain), named: inOrder([...deep, ...(level.below.get(`/${domid}`)?.watchers ?? [])]) };
  }

  /** The part of the index at a path, to look at whole trees: null where nobody watches at or below it. */
  levelAt(path: StorePath): WatchLevel | null {
    let level: Level | undefined = this.#root;
    for (const step of path.steps) level = level?.below.get(step);
    return level ?? null;
  }

  #at(path: StorePath): readonly Watcher[] {
    return inOrder([...(this.levelAt(path)?.watchers ?? [])]);
  }

  #above({ steps, path }: StorePath): readonly Watcher[] {
    const found: Watcher[] = [];
    let level = this.#root;
    // The root's watches see all that lies below it, which special paths do not.
    if (path.charCodeAt(0) === 47) take(found, level, steps.length);
    for (let index = 0; index < steps.length; index += 1) {
      const next = level.below.get(steps[index] as string);
      if (!next) break;
      level = next;
      if (level.watchers.length > 0) take(found, level, steps.length - index - 1);
    }
    return inOrder(found);
  }
}

export interface WatchLevel {
  readonly watchers: readonly Watcher[];
  readonly below: ReadonlyMap<string, WatchLevel>;
}

const take = (found: Watcher[], level: Level, levelsBelow: number): void => {
  for (const watcher of level.watchers) {
    const { depth } = watcher.watch;
    if (depth === null || levelsBelow <= depth) found.push(watcher);
  }
};
