import loadHighs from 'highs';

/** What is to be put somewhere, and where it may go. */
export interface Item {
  readonly memory: number;
  readonly vcpus: number;
  /** Indexes of rooms. */
  readonly rooms: readonly number[];
  /** Items of one word are never in one room. */
  readonly word?: string | undefined;
}

export interface Room {
  readonly memory: number;
  readonly vcpus: number;
}

// Its types are those of the CommonJS module, which it is not when it is imported.
const highs = await (loadHighs as unknown as typeof loadHighs.default)();

const sum = (terms: readonly string[]): string => (terms.length === 0 ? '0 zero' : terms.join(' + '));

const at = (item: number, room: number): string => `x${item}_${room}`;

/** Each item has one place, rooms are not overfull, words are apart. */
const rulesOf = (items: readonly Item[], rooms: readonly Room[]): readonly string[] => {
  const inRoom = (room: number, of: (item: Item) => number): string[] =>
    items.flatMap((item, index) => (item.rooms.includes(room) ? [`${of(item)} ${at(index, room)}`] : []));
  const words = [...new Set(items.flatMap(({ word }) => word ?? []))];
  return [
    ...items.map((item, index) => `${sum(item.rooms.map((room) => at(index, room)))} = 1`),
    ...rooms.flatMap((room, index) => [
      `${sum(inRoom(index, ({ memory }) => memory))} <= ${room.memory}`,
      `${sum(inRoom(index, ({ vcpus }) => vcpus))} <= ${room.vcpus}`,
      ...words.map((word) => `${sum(inRoom(index, (item) => (item.word === word ? 1 : 0)))} <= 1`),
    ]),
  ];
};

const solve = (goal: string, rules: readonly string[], binaries: readonly string[]) =>
  highs.solve(
    [
      `Maximize`,
      ` obj: ${goal}`,
      'Subject To',
      ...rules.map((rule, index) => ` c${index}: ${rule}`),
      'Bounds',
      ' zero = 0',
      'Binary',
      ...binaries.map((name) => ` ${name}`),
      'End',
    ].join('\n'),
    { output_flag: false },
  );

const placesOf = (items: readonly Item[]): string[] =>
  items.flatMap((item, index) => item.rooms.map((room) => at(index, room)));

/** Whether all items find a place, as an integer programme that HiGHS solves exactly. */
export const fits = (items: readonly Item[], rooms: readonly Room[]): boolean => {
  if (items.length === 0) return true;
  const { Status } = solve('0 zero', rulesOf(items, rooms), placesOf(items));
  if (Status !== 'Optimal' && Status !== 'Infeasible') throw new Error(`HiGHS says ${Status}`);
  return Status === 'Optimal';
};

/** The most rooms that can be empty; null: the items do not fit at all. */
export const mostEmpty = (items: readonly Item[], rooms: readonly Room[]): number | null => {
  if (items.length === 0) return rooms.length;
  const empty = rooms.map((_, room) => `e${room}`);
  const emptiness = items.flatMap((item, index) => item.rooms.map((room) => `${at(index, room)} + e${room} <= 1`));
  const { Status, ObjectiveValue } = solve(
    sum(empty),
    [...rulesOf(items, rooms), ...emptiness],
    [...placesOf(items), ...empty],
  );
  if (Status === 'Infeasible') return null;
  if (Status !== 'Optimal') throw new Error(`HiGHS says ${Status}`);
  return Math.round(ObjectiveValue);
};
