import { runService, serviceConfig } from '@xenolith/runtime';
import { storageService } from '@xenolith/storage';

/** The storage service: storage domains, images and volumes with their leases. */
await runService({ name: 'storage', config: serviceConfig, define: () => storageService() });
