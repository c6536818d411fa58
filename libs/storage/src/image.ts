import {
  categoryOf,
  decideObject,
  eventOf,
  evolveObject,
  imageKind,
  invalid,
  objectConsequences,
  objectResource,
  type ImageSpec,
  type ObjectRules,
  type ObjectState,
} from '@xenolith/contracts';
import { bytesOf, ok, reject, type Aggregate, type Command, type NewEvent, type Result } from '@xenolith/kernel';
import { inUse, splitUsers } from './users.js';

type NoOwn = Readonly<Record<string, never>>;
export type ImageState = ObjectState<ImageSpec, NoOwn>;

export const IMAGE_CATEGORY = categoryOf(imageKind);

const rules: ObjectRules<ImageSpec, NoOwn> = {
  kind: imageKind,
  initialOwn: () => ({}),
  checkCreate: (spec) =>
    bytesOf(spec.size) > 0
      ? []
      : [{ field: 'spec.size', reason: 'FieldValueInvalid', message: 'must be more than nothing' }],
  onSpecChange: (image, wished) =>
    wished.size === image.spec.size && wished.format === image.spec.format
      ? ok([eventOf('ImageSpecChanged', { spec: wished })])
      : invalid(imageKind, image.meta, [
          {
            field: wished.size === image.spec.size ? 'spec.format' : 'spec.size',
            reason: 'FieldValueForbidden',
            message: 'an image’s content is fixed; make a new image',
          },
        ]),
  status: ({ meta }) => ({
    phase: meta.deletionTimestamp === undefined ? 'Available' : 'Deleting',
    conditions: [
      { type: 'Ready', status: 'True', reason: 'Available', message: '', lastTransitionTime: meta.creationTimestamp },
    ],
  }),
};

/** A volume is a copy, so one that is made while its image goes stands on its own: the index is exact enough for this refusal. */
const decide = (command: Command, state: ImageState): Result<readonly NewEvent[]> => {
  const { users, plain } = splitUsers(command);
  if (command.type === 'DeleteImage' && state.phase === 'present' && users.count > 0)
    return inUse('image', state.meta.name, users);
  return decideObject(rules, plain, state) ?? reject('command_unknown', `an image knows no command ${command.type}`);
};

export const imageAggregate: Aggregate<ImageState> = {
  category: IMAGE_CATEGORY,
  initial: { phase: 'absent' },
  decide,
  evolve: (state, event, place) => evolveObject(rules, state, event, place) ?? state,
  toResource: (state) => objectResource(rules, state),
  consequences: (event, before, command) => objectConsequences(rules, event, before, command),
  ended: (state) => state.phase === 'deleted',
  stateVersion: 1,
};
