import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { EXIT_CONFIG, parseConfig, readConfig, serviceConfig } from './config.js';

const good = { DATABASE_URL: 'postgresql://me@127.0.0.1:5432/xenolith', NATS_URL: 'nats://127.0.0.1:4222' };

class Exited extends Error {}

describe('configuration', () => {
  it('fills in what the environment leaves out or leaves empty', () => {
    const parsed = parseConfig(serviceConfig, { ...good, HTTP_PORT: '', OTEL_EXPORTER_OTLP_ENDPOINT: '' });
    expect(parsed).toMatchObject({ ok: true, value: { HTTP_HOST: '127.0.0.1', HTTP_PORT: 0, LOG_LEVEL: 'info' } });
    expect(parsed.ok && parsed.value.OTEL_EXPORTER_OTLP_ENDPOINT).toBeUndefined();
    expect(parsed.ok && parsed.value.INSTANCE).toMatch(/./);
  });

  it('names every wrong variable in a sentence, without its value', () => {
    const schema = serviceConfig.extend({ AGENT_HOSTS: z.coerce.number().int().min(1).describe('how many hosts') });
    const parsed = parseConfig(schema, {
      DATABASE_URL: 'mysql://me:secret@127.0.0.1/x',
      HTTP_PORT: '70000',
      LOG_LEVEL: 'loud',
      AGENT_HOSTS: '0',
    });
    const messages = parsed.ok ? [] : (parsed.rejection.causes ?? []).map((cause) => cause.message);
    expect(messages.map((message) => message.split(' ')[0]).sort()).toEqual(
      ['AGENT_HOSTS', 'DATABASE_URL', 'HTTP_PORT', 'LOG_LEVEL', 'NATS_URL'].sort(),
    );
    expect(messages.join(' ')).toContain('NATS_URL is not set (where NATS listens');
    expect(messages.join(' ')).not.toContain('secret');
    for (const message of messages) expect(message).toMatch(/^[A-Z_]+ is (wrong: .+|not set) \(.+\)\.$/);
  });

  it('ends the process with code 78 after it has printed what is wrong', () => {
    const printed: string[] = [];
    const codes: number[] = [];
    const handle = {
      env: {},
      stderr: { write: (text: string) => printed.push(text) },
      exit: (code: number): never => {
        codes.push(code);
        throw new Exited();
      },
    };
    expect(() => readConfig(serviceConfig, handle)).toThrow(Exited);
    expect(codes).toEqual([EXIT_CONFIG]);
    expect(printed.join('')).toMatch(/DATABASE_URL is not set.*\n.*|NATS_URL is not set/);
  });
});
