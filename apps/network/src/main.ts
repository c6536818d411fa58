import { networkService } from '@xenolith/network';
import { runService, serviceConfig } from '@xenolith/runtime';

/** The network service: networks, and ports with their addresses. */
await runService({ name: 'network', config: serviceConfig, define: () => networkService() });
