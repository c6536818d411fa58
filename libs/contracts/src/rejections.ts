/**
 * Every rejection code, in one place. The gateway's table of HTTP status codes covers exactly these (a test holds it to that). Codes that mirror
 * XAPI carry its error code and arguments in `details.xapi`.
 */
export const REJECTION_CODES = [
  // Objects
  'object_invalid',
  'already_exists',
  'not_found',
  'version_conflict',
  'precondition_failed',
  'namespace_not_active',
  'namespace_protected',
  'quota_exceeded',
  'quota_not_counted',
  'claim_taken',
  'object_in_use',
  'verb_not_supported',
  // Requests
  'request_malformed',
  'apply_conflict',
  'not_acceptable',
  // Commands
  'command_malformed',
  'command_cancelled',
  'command_id_reused',
  'command_unknown',
  // Virtual machines and operations
  'operation_not_allowed',
  'operation_in_progress',
  'operation_unknown',
  'operation_not_cancellable',
  'operation_finished',
  'operation_timed_out',
  'bad_power_state',
  'virtual_machine_stale_incarnation',
  // Hosts and agents
  'host_not_ready',
  'host_out_of_memory',
  'host_unknown_domain',
  'host_domain_exists',
  'host_domain_unsupported',
  'host_device_failed',
  'host_stale_incarnation',
  'guest_ignored_shutdown',
  'host_crashed',
  'host_in_use',
  'host_powered_off',
  'migration_failed',
  'migration_cancelled',
  'migration_switched',
  'fault_injected',
  // Placement
  'placement_pending',
  'placement_unknown',
  'host_ledger_affinity',
  'host_control_plane_lost',
  'host_lacks_devices',
  'host_ledger_full',
  // Storage
  'storage_domain_full',
  'storage_domain_not_found',
  'image_not_found',
  'volume_in_use',
  'volume_not_available',
  'volume_shrink_forbidden',
  // Network
  'network_not_found',
  'network_full',
  'address_taken',
  'address_outside_subnet',
  'port_in_use',
  'quantity_malformed',
] as const;

export type RejectionCode = (typeof REJECTION_CODES)[number];
