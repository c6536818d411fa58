import { runMigration } from './migration/run-migration.js';

await runMigration();
