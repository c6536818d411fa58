import * as client from '@kubernetes/client-node';

interface Attribute {
  readonly baseName: string;
  readonly type: string;
}
type Described = (new () => object) & { getAttributeTypeMap(): readonly Attribute[] };

const isDescribed = (value: unknown): value is Described =>
  typeof value === 'function' && 'getAttributeTypeMap' in value;

/** Kubernetes' own types by name, as its published OpenAPI has them. */
const typeNamed = (name: string): Described | null => {
  const found = (client as Readonly<Record<string, unknown>>)[name];
  return isDescribed(found) ? found : null;
};

/** `apps/v1` and `Deployment`: `V1Deployment`. */
const typeNameOf = (apiVersion: string, kind: string): string => {
  const version = apiVersion.split('/').at(-1) ?? '';
  return `${version[0]?.toUpperCase() ?? ''}${version.slice(1)}${kind}`;
};

const fieldsUnknownTo = (type: string, value: unknown, path: string): readonly string[] => {
  const item = /^Array<(.*)>$/.exec(type)?.[1] ?? /^\{ \[key: string\]: (.*); \}$/.exec(type)?.[1];
  if (item !== undefined)
    return Object.entries(value ?? {}).flatMap(([key, each]) => fieldsUnknownTo(item, each, `${path}.${key}`));
  const described = typeNamed(type);
  if (described === null || value === null || typeof value !== 'object') return [];
  const attributes = new Map(described.getAttributeTypeMap().map(({ baseName, type: of }) => [baseName, of]));
  return Object.entries(value).flatMap(([key, each]) => {
    const of = attributes.get(key);
    return of === undefined ? [`${path}.${key}`] : fieldsUnknownTo(of, each, `${path}.${key}`);
  });
};

/** Paths of fields that Kubernetes does not know, such as `spec.template.spec.container`; null: it does not know the kind. */
export const unknownFields = (object: {
  readonly apiVersion: string;
  readonly kind: string;
}): readonly string[] | null => {
  const type = typeNameOf(object.apiVersion, object.kind);
  return typeNamed(type) ? fieldsUnknownTo(type, object, object.kind) : null;
};

interface Model {
  validate(): void;
}
type ModelType = new (data: object) => Model;

const PACKAGES: Readonly<Record<string, string>> = {
  'cert-manager.io': '@kubernetes-models/cert-manager',
  'gateway.networking.k8s.io': '@kubernetes-models/gateway-api',
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
};

/** What the published JSON schema of its kind finds wrong: types, required fields, formats; null: nothing. */
export const schemaFault = async (object: {
  readonly apiVersion: string;
  readonly kind: string;
}): Promise<string | null> => {
  const [group = ''] = object.apiVersion.includes('/') ? object.apiVersion.split('/') : [];
  const module = (await import(
    `${PACKAGES[group] ?? 'kubernetes-models'}/${object.apiVersion}/${object.kind}`
  )) as Record<string, ModelType>;
  const type = module[object.kind];
  if (!type) return `there is no schema of ${object.apiVersion} ${object.kind}`;
  try {
    new type(object).validate();
    return null;
  } catch (fault) {
    return fault instanceof Error ? fault.message : String(fault);
  }
};
