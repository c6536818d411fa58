/** An identifier of ours in SQL. */
const quoted = (name: string): string => `"${name.replaceAll('"', '""')}"`;

/** Nobody has a right by being there; what follows is granted to each service by name. */
export const revokeFromAll = [
  'revoke all on schema es from public',
  'revoke all on all tables in schema es from public',
  'revoke all on all functions in schema es from public',
];

/** Temporary tables would be a way to fill the disk. Refused where the database is not ours; then it is another's affair. */
export const revokeTemporary = (database: string): string =>
  `revoke temporary on database ${quoted(database)} from public`;

/**
 * What a service does: it reads the log, calls the functions that append and sequence, keeps its places and snapshots, and removes timers that it has sent.
 * Events and documents come about by `es.append` alone, which runs as the owner; nobody but the owner can change or remove one.
 */
export const grantsTo = (role: string, database: string): readonly string[] => {
  const to = `to ${quoted(role)}`;
  return [
    `grant connect on database ${quoted(database)} ${to}`,
    `grant usage on schema es ${to}`,
    `grant select on all tables in schema es ${to}`,
    `grant execute on all functions in schema es ${to}`,
    `grant insert, update on es.checkpoints, es.snapshots ${to}`,
    `grant delete on es.timers ${to}`,
  ];
};

/** May log in, and nothing else. `verifier` is what the server keeps of the password. */
export const createRole = (role: string): string =>
  `create role ${quoted(role)} login nosuperuser nocreatedb nocreaterole noinherit noreplication nobypassrls`;

export const alterPassword = (role: string, verifier: string): string =>
  `alter role ${quoted(role)} login password '${verifier.replaceAll("'", "''")}'`;

/** The owner ends sessions of its services that hold everybody back; for that it must be a member of theirs. */
export const joinRole = (role: string): string => `grant ${quoted(role)} to current_user`;
