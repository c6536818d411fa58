import type { EventLog, LogFeed } from '@xenolith/kernel';
import type { MemoryConnection } from '@xenolith/testing';

/** A call to the log that broke: what it asked for may have happened or not. */
export class LogFault extends Error {
  override readonly name = 'LogFault';
}

/** When a call breaks: before it had its effect, after it, or not at all. */
export type LogLuck = () => 'before' | 'after' | 'none';

/** A process's access to the log over a connection that breaks now and then, as one to a database does. */
export const faultyLog = (log: MemoryConnection, luck: LogLuck): EventLog & LogFeed => {
  const call = async <Value>(action: () => Promise<Value>): Promise<Value> => {
    const fate = luck();
    if (fate === 'before') throw new LogFault('the connection broke before the call');
    const value = await action();
    if (fate === 'after') throw new LogFault('the connection broke before the answer');
    return value;
  };
  return {
    append: (request) => call(() => log.append(request)),
    readStream: (streamId, afterVersion) => call(() => log.readStream(streamId, afterVersion)),
    commandResult: (commandId) => call(() => log.commandResult(commandId)),
    claimHolder: (scope, value) => call(() => log.claimHolder(scope, value)),
    snapshot: (streamId, stateVersion) => call(() => log.snapshot(streamId, stateVersion)),
    saveSnapshot: (snapshot) => call(() => log.saveSnapshot(snapshot)),
    readLog: (after, limit) => call(() => log.readLog(after, limit)),
    readEvents: (after, limit) => call(() => log.readEvents(after, limit)),
    readCategory: (category, range) => call(() => log.readCategory(category, range)),
    head: () => call(() => log.head()),
    documents: (categories) => call(() => log.documents(categories)),
    scanDocuments: (categories, onPage) => call(() => log.scanDocuments(categories, onPage)),
    follow: (follower) => log.follow(follower),
    followLeased: (follower) => log.followLeased(follower),
  };
};
