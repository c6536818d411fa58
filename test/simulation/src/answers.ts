import { canonicalJson, type CommandMessage, type MessageBus, type Reply, type Uuid } from '@xenolith/kernel';

/** What only looks is answered anew each time. */
const LOOKS: ReadonlySet<string> = new Set(['GetInventory', 'RunTool']);

/** Says when a command that came twice was answered differently: then it happened twice. */
export class AnswerBook {
  private readonly answers = new Map<Uuid, string>();

  constructor(private readonly broken: (what: string) => void) {}

  /** A bus that looks at the answers of whoever serves on it. */
  over(bus: MessageBus): MessageBus {
    return {
      request: (subject, message, options) => bus.request(subject, message, options),
      publish: (subject, payload) => bus.publish(subject, payload),
      subscribe: (subject, handler) => bus.subscribe(subject, handler),
      serve: (subject, handler, options) =>
        bus.serve(
          subject,
          async (message, context) => {
            const reply = await handler(message, context);
            this.compare(message, reply);
            return reply;
          },
          options,
        ),
    };
  }

  private compare({ commandId, type }: CommandMessage, reply: Reply): void {
    if (LOOKS.has(type)) return;
    const answer = canonicalJson(reply);
    const before = this.answers.get(commandId);
    this.answers.set(commandId, answer);
    if (before !== undefined && before !== answer)
      this.broken(`${type} ${commandId} was answered ${before} and then ${answer}`);
  }
}
