/** Servers of one's own. */
export const EXTERNAL = [
  'postgres.enabled=false',
  'postgres.external.existingSecret=database',
  'nats.enabled=false',
  'nats.external.url=nats://nats.example.com:4333',
];
/** Servers of one's own that ask for more. */
export const EXTERNAL_SECURED = [
  ...EXTERNAL,
  'postgres.external.caSecret=database-ca',
  'nats.external.caSecret=bus-ca',
  'nats.external.credentialsSecret=bus-login',
];
/** All certificates from one issuer. */
export const CERT_MANAGER = ['tls', 'nats.tls', 'postgres.tls'].flatMap((value) => [
  `${value}.certManager.enabled=true`,
  `${value}.certManager.issuerRef={"name":"ca","kind":"ClusterIssuer"}`,
]);
