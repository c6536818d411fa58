import { writeBusAccounts } from './migration/write-bus-accounts.js';

await writeBusAccounts();
