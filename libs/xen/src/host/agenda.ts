/** What will happen on a host, as a binary heap in plain JSON: the earliest first, of equal ones the one that was planned first. */
export interface AgendaState<Task> {
  readonly entries: AgendaEntry<Task>[];
  planned: number;
}

export interface AgendaEntry<Task> {
  /** Microseconds since the epoch. */
  readonly dueUs: number;
  readonly order: number;
  readonly task: Task;
}

export const emptyAgenda = <Task>(): AgendaState<Task> => ({ entries: [], planned: 0 });

const before = (left: AgendaEntry<unknown>, right: AgendaEntry<unknown>): boolean =>
  left.dueUs < right.dueUs || (left.dueUs === right.dueUs && left.order < right.order);

const rise = <Task>(entries: AgendaEntry<Task>[], from: number): void => {
  let index = from;
  const entry = entries[index];
  while (entry && index > 0) {
    const parentIndex = (index - 1) >> 1;
    const parent = entries[parentIndex];
    if (!parent || !before(entry, parent)) break;
    entries[index] = parent;
    entries[parentIndex] = entry;
    index = parentIndex;
  }
};

const sink = <Task>(entries: AgendaEntry<Task>[]): void => {
  let index = 0;
  for (;;) {
    const entry = entries[index];
    const left = entries[2 * index + 1];
    const right = entries[2 * index + 2];
    if (!entry || !left) return;
    const childIndex = right && before(right, left) ? 2 * index + 2 : 2 * index + 1;
    const child = entries[childIndex];
    if (!child || !before(child, entry)) return;
    entries[index] = child;
    entries[childIndex] = entry;
    index = childIndex;
  }
};

/** Plans what will happen at `dueUs`. What was planned is not taken back: a task looks whether it still applies when its time comes. */
export const plan = <Task>(agenda: AgendaState<Task>, dueUs: number, task: Task): void => {
  agenda.planned += 1;
  agenda.entries.push({ dueUs, order: agenda.planned, task });
  rise(agenda.entries, agenda.entries.length - 1);
};

export const nextDueUs = (agenda: AgendaState<unknown>): number | null => agenda.entries[0]?.dueUs ?? null;

/** Takes the earliest task that is due at or before `untilUs`; null: there is none. */
export const takeDue = <Task>(agenda: AgendaState<Task>, untilUs: number): AgendaEntry<Task> | null => {
  const [first] = agenda.entries;
  if (!first || first.dueUs > untilUs) return null;
  const last = agenda.entries.pop();
  if (last && agenda.entries.length > 0) {
    agenda.entries[0] = last;
    sink(agenda.entries);
  }
  return first;
};
