import { KINDS, virtualMachineKind, type KindDefinition } from '@xenolith/contracts';
import { UserError } from '../terminal.js';
import { namespaceOf, type ClusterOptions } from './cluster.js';

const namesOf = (kind: KindDefinition): readonly string[] => {
  const plain = [kind.plural, kind.singular, kind.kind.toLowerCase(), ...kind.shortNames];
  return kind.group === '' ? plain : [...plain, ...plain.slice(0, 2).map((name) => `${name}.${kind.group}`)];
};

const findKind = (word: string): KindDefinition | undefined =>
  KINDS.find((kind) => namesOf(kind).includes(word.toLowerCase()));

export interface NamedObject {
  readonly kind: KindDefinition;
  readonly name: string;
  /** Of the API. */
  readonly path: string;
}

/** `vm web-1`, `vm/web-1`, or `web-1` alone, which is a virtual machine. Throws a UserError. */
export const objectOf = async (words: readonly string[], options: ClusterOptions): Promise<NamedObject> => {
  const [first = '', second] = words.length === 1 ? (words[0] ?? '').split('/') : words;
  const [word, name] = second === undefined ? [virtualMachineKind.plural, first] : [first, second];
  const kind = findKind(word);
  if (kind === undefined || name === '')
    throw new UserError(`there is no kind "${word}".`, [
      'Name one as kubectl does: vm web-1, host host-0001, operation/web-1-reboot-x2k4q. A name alone is a virtual machine.',
      'kubectl api-resources lists them all.',
    ]);
  const root = kind.group === '' ? `/api/${kind.version}` : `/apis/${kind.group}/${kind.version}`;
  const home = kind.namespaced ? `/namespaces/${encodeURIComponent(await namespaceOf(options))}` : '';
  return { kind, name, path: `${root}${home}/${kind.plural}/${encodeURIComponent(name)}` };
};
