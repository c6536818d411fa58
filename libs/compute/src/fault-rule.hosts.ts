import { faultRuleKind, faultRuleSpec, invalid, type ChangeData, type FaultRuleSpec } from '@xenolith/contracts';
import { globOf, ok, type JsonObject, type Result } from '@xenolith/kernel';
import type { HostIndex, IndexedHost } from './host.index.js';

interface Effect {
  readonly field: string;
  readonly isOf: (host: IndexedHost) => boolean;
  /** What hosts have that it is of. */
  readonly needs: string;
}

const XENSTORE = {
  isOf: ({ hypervisor }: IndexedHost): boolean => hypervisor === 'xen',
  needs: 'run Xen, with xenstored',
};

/** Effects that some hosts can't have. */
const effectsOf = ({ effect }: FaultRuleSpec): readonly Effect[] => {
  const { devices, killDaemon } = effect;
  const found: Effect[] = [];
  const field = 'spec.effect.killDaemon';
  if (killDaemon === 'xenstored' || killDaemon === 'xenconsoled') found.push({ field, ...XENSTORE });
  if (killDaemon === 'xend')
    found.push({ field, isOf: ({ release }) => release === 'xen-4.0', needs: 'run a release of Xen with xend' });
  if (killDaemon === 'libvirtd')
    found.push({ field, isOf: ({ hypervisor }) => hypervisor === 'kvm', needs: 'run KVM' });
  if (devices?.crashDriverDomain === true)
    found.push({
      field: 'spec.effect.devices.crashDriverDomain',
      isOf: ({ driverDomains }) => driverDomains,
      needs: 'have driver domains',
    });
  if (devices?.dropWatches !== undefined) found.push({ field: 'spec.effect.devices.dropWatches', ...XENSTORE });
  return found;
};

/** A rule that can strike none of the hosts that it names is refused; hosts that are not there yet may be of any kind. */
export const prepareFaultRule = (data: JsonObject, hosts: HostIndex): Result<JsonObject> => {
  const { spec, metadata } = data as unknown as ChangeData;
  const parsed = faultRuleSpec.safeParse(spec);
  if (!parsed.success) return ok(data);
  const globs = parsed.data.match.hosts.map((pattern) => globOf(pattern));
  const meant = hosts.all().filter(({ name }) => globs.length === 0 || globs.some((glob) => glob.test(name)));
  const causes = effectsOf(parsed.data)
    .filter(({ isOf }) => meant.length > 0 && !meant.some(isOf))
    .map(({ field, needs }) => ({
      field,
      reason: 'FieldValueForbidden' as const,
      message: `strikes no host: ${meant.length === 1 ? `${meant[0]?.name ?? ''} does` : `the ${meant.length} hosts that it names do`} not ${needs}`,
    }));
  return causes.length === 0 ? ok(data) : invalid(faultRuleKind, metadata, causes);
};
