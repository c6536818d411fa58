import { FEED_STREAM } from '@xenolith/contracts';
import { z } from 'zod';
import { fine, skipped, warning, wrong, type Finding } from './finding.js';

const ANSWER_LIMIT_MS = 2_000;
/** Of the memory that the server may use for streams. */
const NEARLY_FULL = 0.9;

/** The part of the server's account of JetStream that is looked at. */
const jetStream = z.object({
  memory: z.number(),
  config: z.object({ max_memory: z.number() }),
  account_details: z
    .array(z.object({ stream_detail: z.array(z.object({ name: z.string() })).default([]) }))
    .default([]),
});

/** The platform's own NATS server, by its monitoring port. */
export const lookAtBus = async (monitorPort: number, logs: string): Promise<readonly Finding[]> => {
  let found: z.infer<typeof jetStream>;
  try {
    const answer = await fetch(`http://127.0.0.1:${monitorPort}/jsz?accounts=1&streams=1`, {
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    });
    found = jetStream.parse(await answer.json());
  } catch (fault) {
    const why = fault instanceof Error ? fault.message : String(fault);
    return [wrong('nats', `the server does not tell of JetStream: ${why}`, `See ${logs} nats.`)];
  }
  const streams = found.account_details.flatMap(({ stream_detail: names }) => names.map(({ name }) => name));
  const used = found.memory / found.config.max_memory;
  const memory = `${Math.round(100 * used)} % of JetStream's memory is used`;
  return [
    streams.includes(FEED_STREAM)
      ? fine('nats', 'JetStream runs, and has the feed of the log')
      : wrong(
          'nats',
          'the feed of the log is not there: services learn of events by asking Postgres, which is slower',
          `A service makes it anew within a second when all is well; see ${logs} for what keeps it.`,
        ),
    used < NEARLY_FULL
      ? fine('nats', memory)
      : warning('nats', memory, 'Whatever else was stored there must go: nothing but the feed needs it.'),
  ];
};

export const busSkipped = (why: string): readonly Finding[] => [skipped('nats', why)];
