/** After its first refusal a waiting step is asked again this soon: what it needs may have come while it was asked, when nobody could wake it. */
const FIRST_LOOK_MS = 1_000;
/** Safety net for a step that waits: whoever it waits for wakes it. */
const FIRST_WAIT_MS = 15_000;
/** The pauses double up to this: each is an event, and who waits for days must not fill the log. */
const LONGEST_WAIT_MS = 300_000;
/** Pauses between attempts at an undo, or at a step that must succeed, double from the first to the longest. */
const FIRST_BACKOFF_MS = 1_000;
const LONGEST_BACKOFF_MS = 60_000;

/**
 * Then somebody has to look, while it goes on trying. With these pauses that is a minute after the first refusal, or under five when nobody answers at all: as long
 * as a host needs to boot again.
 */
export const ATTEMPTS_BEFORE_OPERATOR = 7;

/**
 * A step that is asked until it is answered calls for an operator after so many askings in vain, and goes on being asked: with the half minute that an agent is given
 * for each, eight minutes.
 */
export const SILENCES_BEFORE_OPERATOR = 16;

/** How long a step waits after attempt `attempt`, having waited `waits` times since it was woken last. */
export const waitMs = (attempt: number, waits: number): number =>
  attempt === 1 ? FIRST_LOOK_MS : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** Math.max(0, waits - 1));

/** The pause after a refusal that `refusals` others came before. */
export const backoffMs = (refusals: number): number => Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** refusals);

/** Attempts that are left after `refusals` in a row before an operator is asked. */
export const attemptsLeft = (refusals: number): number => Math.max(0, ATTEMPTS_BEFORE_OPERATOR - refusals);
