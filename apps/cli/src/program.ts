import { CommanderError, type Command } from 'commander';
import { messageOf, say, UserError } from './terminal.js';

/** Reads the arguments and runs the command. What a person can mend is shown as sentences, everything else as the defect it is. */
export const runCommandLine = async (program: Command): Promise<void> => {
  try {
    await program.exitOverride().parseAsync();
  } catch (thrown) {
    if (thrown instanceof CommanderError) {
      process.exitCode = thrown.exitCode;
      return;
    }
    if (!(thrown instanceof UserError)) throw thrown;
    say(`${program.name().replace('./', '')}: ${messageOf(thrown)}`);
    for (const line of thrown.advice) say(`  ${line}`);
    process.exitCode = thrown.exitCode;
  }
};

/** An action whose answer is the exit code of the process. */
export const ending =
  <Arguments extends readonly unknown[]>(run: (...args: Arguments) => Promise<number>) =>
  async (...args: Arguments): Promise<void> => {
    process.exitCode = await run(...args);
  };
