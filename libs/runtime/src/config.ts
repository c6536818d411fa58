import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import type { Result } from '@xenolith/kernel';
import { ok, reject } from '@xenolith/kernel';
import type { BusCredentials } from '@xenolith/messaging';
import { z } from 'zod';
import type { ProcessHandle } from './lifecycle.js';

/** sysexits.h's EX_CONFIG: supervisors need not try again, as nothing changes by itself. */
export const EXIT_CONFIG = 78;

/** An empty variable counts as none: that is how shells and charts unset one. */
const optional = <Schema extends z.ZodType>(schema: Schema) =>
  z.preprocess((value) => (value === '' ? undefined : value), schema);

/** JSON in a variable; what is no JSON is left for the schema to refuse. */
export const jsonVariable = z.string().transform((text, context): unknown => {
  try {
    return JSON.parse(text);
  } catch {
    context.addIssue({ code: 'custom', message: 'must be JSON' });
    return z.NEVER;
  }
});

const secretFile = (meaning: string) => optional(z.string().optional()).describe(meaning);

/** What every process is told by its environment. Apps extend it: `processConfig.extend({ AGENT_HOSTS: … })`. */
export const processConfig = z.object({
  NATS_URL: z.url({ protocol: /^(nats|tls)$/ }).describe('where NATS listens, such as nats://127.0.0.1:4222'),
  NATS_CA_FILE: secretFile("authority of the NATS server's certificate (PEM); without it those that Node knows"),
  NATS_CERT_FILE: secretFile('certificate of this process (PEM), where the NATS server asks for one'),
  NATS_KEY_FILE: secretFile('the key of that certificate (PEM)'),
  NATS_NKEY_FILE: secretFile(
    'file of the key by which this process logs in to NATS: the seed of an nkey, or Ed25519 in PEM',
  ),
  NATS_CREDS_FILE: secretFile('credentials file, as nsc writes them, by which it logs in to NATS'),
  NATS_USER: optional(z.string().optional()).describe('the name by which it logs in to NATS'),
  NATS_PASSWORD_FILE: secretFile('file of the password of NATS_USER'),
  HTTP_HOST: optional(z.string().default('127.0.0.1')).describe('address of the port for /livez, /readyz and /metrics'),
  HTTP_PORT: optional(z.coerce.number().int().min(0).max(65_535).default(0)).describe(
    'port for /livez, /readyz and /metrics; 0 takes a free one',
  ),
  LOG_LEVEL: optional(z.enum(['trace', 'debug', 'info', 'warn', 'error']).default('info')).describe(
    'the least level that is logged',
  ),
  OTEL_EXPORTER_OTLP_ENDPOINT: optional(z.url({ protocol: /^https?$/ }).optional()).describe(
    'where spans go by OTLP over HTTP, such as http://127.0.0.1:4318; none are recorded without it',
  ),
  INSTANCE: optional(z.string().default(`${hostname()}-${process.pid}`)).describe('names this instance of the process'),
});
export type ProcessConfig = z.infer<typeof processConfig>;

/** Who a process is to NATS. */
export const busCredentials = (config: ProcessConfig): BusCredentials => ({
  caFile: config.NATS_CA_FILE,
  certFile: config.NATS_CERT_FILE,
  keyFile: config.NATS_KEY_FILE,
  nkeyFile: config.NATS_NKEY_FILE,
  credsFile: config.NATS_CREDS_FILE,
  user: config.NATS_USER,
  passwordFile: config.NATS_PASSWORD_FILE,
});

/** What every process is told that owns a part of the log. */
export const serviceConfig = processConfig.extend({
  DATABASE_URL: z
    .url({ protocol: /^postgres(ql)?$/ })
    .describe('the PostgreSQL database of the log, such as postgresql://user@127.0.0.1:5432/xenolith'),
  DATABASE_PASSWORD_FILE: secretFile('file of the password, where DATABASE_URL holds none'),
});
export type ServiceConfig = z.infer<typeof serviceConfig>;

/** The URL with the password in it: for memory alone, never for a log or an argument. */
export const databaseUrlOf = async (
  config: Pick<ServiceConfig, 'DATABASE_URL' | 'DATABASE_PASSWORD_FILE'>,
): Promise<string> => {
  if (config.DATABASE_PASSWORD_FILE === undefined) return config.DATABASE_URL;
  const url = new URL(config.DATABASE_URL);
  url.password = encodeURIComponent((await readFile(config.DATABASE_PASSWORD_FILE, 'utf8')).trim());
  return url.toString();
};

type Environment = Readonly<Record<string, string | undefined>>;

/** One sentence for a wrong variable. Values are not shown, as URLs hold passwords. */
const sentence = (schema: z.ZodObject, issue: z.core.$ZodIssue, environment: Environment): string => {
  const name = String(issue.path[0] ?? 'the environment');
  const field = schema.shape[name] as z.ZodType | undefined;
  const meaning = field?.description === undefined ? '' : ` (${field.description})`;
  const given = environment[name];
  return given === undefined || given === ''
    ? `${name} is not set${meaning}.`
    : `${name} is wrong: ${issue.message}${meaning}.`;
};

/** Parses the environment; the rejection's causes name every wrong variable. */
export const parseConfig = <Schema extends z.ZodObject>(
  schema: Schema,
  environment: Environment,
): Result<z.infer<Schema>> => {
  const parsed = schema.safeParse(environment);
  if (parsed.success) return ok(parsed.data);
  const causes = parsed.error.issues.map((issue) => ({
    field: String(issue.path[0] ?? ''),
    reason: 'FieldValueInvalid',
    message: sentence(schema, issue, environment),
  }));
  return reject('configuration_invalid', 'the environment does not hold what this process needs', { causes });
};

/** Reads the environment once. Wrong variables are printed, one sentence each, and the process ends with code 78. */
export const readConfig = <Schema extends z.ZodObject>(
  schema: Schema,
  handle: Pick<ProcessHandle, 'env' | 'stderr' | 'exit'> = process,
): z.infer<Schema> => {
  const parsed = parseConfig(schema, handle.env);
  if (parsed.ok) return parsed.value;
  const sentences = (parsed.rejection.causes ?? []).map((cause) => `  ${cause.message}`);
  handle.stderr.write(`${parsed.rejection.message}:\n${sentences.join('\n')}\n`);
  return handle.exit(EXIT_CONFIG);
};
