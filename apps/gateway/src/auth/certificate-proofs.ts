import type { User } from '../http/api-request.js';
import type { Authenticate } from './authenticate.js';
import { clientCertificates, frontProxy, type ReadCertificate, type RemoteHeaders } from './client-certificates.js';

/** Authorities in PEM, one or more in each; null: certificates of this use prove nothing. */
export interface ClientAuthorities {
  /** Of users' own certificates. */
  readonly clients: string | null;
  /** Of front proxies, which name users. */
  readonly proxies: string | null;
}

export interface ProxyRules {
  /** Common names that front proxies must have one of; none: any. */
  readonly names: readonly string[];
  /** Absent: those of Kubernetes' own servers. */
  readonly headers?: RemoteHeaders;
}

const NO_AUTHORITIES: ClientAuthorities = { clients: null, proxies: null };

/**
 * Users by certificates that authorities signed: the platform's own, or a cluster's. The authorities can be replaced while connections are open: each request, and each
 * watch that is asked again, is judged by those of then.
 */
export class CertificateProofs {
  private ways: readonly ReadCertificate[] = [];
  private known: readonly string[] = [];

  constructor(
    private rules: ProxyRules,
    authorities = NO_AUTHORITIES,
  ) {
    this.replace(authorities);
  }

  /** What the TLS layer is to trust. */
  get authorities(): readonly string[] {
    return this.known;
  }

  replace({ clients, proxies }: ClientAuthorities, rules = this.rules): void {
    this.rules = rules;
    this.ways = [
      ...(proxies === null ? [] : [frontProxy(proxies, rules.names, rules.headers)]),
      ...(clients === null ? [] : [clientCertificates(clients)]),
    ];
    this.known = [clients, proxies].filter((authority) => authority !== null);
  }

  readonly authenticate = (message: Parameters<Authenticate>[0]): User | null => {
    const { ways } = this;
    const user = this.read(message);
    return user && { ...user, isProven: () => this.ways === ways || this.read(message) !== null };
  };

  private read(message: Parameters<Authenticate>[0]): User | null {
    for (const way of this.ways) {
      const user = way(message);
      if (user !== null) return user;
    }
    return null;
  }
}
