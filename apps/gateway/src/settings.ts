import { serviceConfig } from '@xenolith/runtime';
import { z } from 'zod';
import { authFaults, authVariables } from './auth/auth-settings.js';

const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount';

const optional = <Schema extends z.ZodType>(schema: Schema) =>
  z.preprocess((value) => (value === '' ? undefined : value), schema);

/** What the gateway is told by its environment, beside what every service is. */
export const gatewayConfig = serviceConfig
  .extend({
    ...authVariables,
    GATEWAY_HOST: z.string().min(1).default('127.0.0.1').describe('address of the API over HTTPS'),
    GATEWAY_PORT: z.coerce.number().int().min(0).max(65_535).describe('port of the API over HTTPS; 0 takes a free one'),
    TLS_CERT_FILE: z.string().min(1).describe('certificate of the API in PEM, with its chain'),
    TLS_KEY_FILE: z.string().min(1).describe('private key of the certificate in PEM'),
    TOKENS_FILE: z.string().min(1).describe('bearer tokens: a JSON list of {"token", "user", "groups"}'),
    CLUSTER_API_URL: optional(z.url({ protocol: /^https$/ }).optional()).describe(
      'the API of the cluster that serves ours as a part of its own, such as https://kubernetes.default.svc; default: none',
    ),
    CLUSTER_CA_FILE: optional(z.string().default(`${SERVICE_ACCOUNT}/ca.crt`)).describe(
      "authority of that API's certificate in PEM",
    ),
    CLUSTER_TOKEN_FILE: optional(z.string().default(`${SERVICE_ACCOUNT}/token`)).describe(
      'file of the token by which the gateway is somebody there; it is read again as it changes',
    ),
  })
  .superRefine((config, context) => {
    for (const { variable, message } of authFaults(config))
      context.addIssue({ code: 'custom', path: [variable], message });
  });
