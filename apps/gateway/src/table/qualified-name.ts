/** Longest name part of a label or annotation key, and longest label value (Kubernetes, apimachinery, util/validation). */
const MAX_NAME = 63;
const MAX_PREFIX = 253;

const NAME = /^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

const nameFault = (name: string, part: string): string | null => {
  if (name === '') return `${part} must be non-empty`;
  if (name.length > MAX_NAME) return `${part} must be no more than ${MAX_NAME} characters`;
  if (!NAME.test(name))
    return `${part} must consist of letters, digits, '-', '_' or '.', and must start and end with a letter or digit (e.g. 'MyName' or '123-abc')`;
  return null;
};

/** Why the text is no qualified name (`app`, `example.com/app`), as keys of labels and annotations and finalizers must be; null: it is one. */
export const qualifiedNameFault = (text: string): string | null => {
  const parts = text.split('/');
  const [first = '', second] = parts;
  if (parts.length > 2)
    return "a qualified name must consist of a name with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
  if (second === undefined) return nameFault(first, 'name part');
  if (first === '') return 'prefix part must be non-empty';
  if (first.length > MAX_PREFIX) return `prefix part must be no more than ${MAX_PREFIX} characters`;
  if (!SUBDOMAIN.test(first)) return "prefix part must be a DNS subdomain in lower case (e.g. 'example.com')";
  return nameFault(second, 'name part');
};

/** Why the text is no label value; null: it is one. The empty text is. */
export const labelValueFault = (text: string): string | null => {
  if (text === '') return null;
  if (text.length > MAX_NAME) return `must be no more than ${MAX_NAME} characters`;
  if (!NAME.test(text))
    return "a valid label must be an empty string or consist of letters, digits, '-', '_' or '.', and must start and end with a letter or digit (e.g. 'MyValue', or 'my_value', or '12345')";
  return null;
};
