/** A node as `xenstore-ls` reads it; children in the order in which xenstored lists them. */
export interface XenstoreNode {
  readonly name: string;
  readonly value: string;
  /** Such as `n0` or `r5`, the owner's first. */
  readonly permissions: readonly string[];
  readonly children: readonly XenstoreNode[];
}

export interface XenstoreListOptions {
  /** -f: whole paths in place of indents. */
  readonly fullPaths?: boolean;
  /** -p */
  readonly permissions?: boolean;
}

/** Where the tool writes to no terminal: the width of a line, and where permissions begin (tools/xs-clients/xenstore_client.c). */
const MAX_WIDTH = 80;
const DESIRED_WIDTH = 60;
/** Of ` = "..."`. */
const TAG_LENGTH = 8;

const ESCAPES: Readonly<Record<string, string>> = { '\t': '\\t', '\n': '\\n', '\r': '\\r', '\\': '\\\\' };

/** Unprintable characters as the tool escapes them: below 8 in octal, others in hexadecimal. */
const sanitised = (value: string): string =>
  value.replace(/[^ -[\]-~]/g, (character) => {
    const code = character.charCodeAt(0);
    const escaped = ESCAPES[character];
    if (escaped !== undefined) return escaped;
    return code < 8 ? `\\${code.toString(8).padStart(3, '0')}` : `\\x${code.toString(16).padStart(2, '0')}`;
  });

const dots = (from: number): string => {
  let text = '';
  for (let width = from; width < DESIRED_WIDTH; width += 1) text += width & 1 ? '.' : ' ';
  return text;
};

/** Value and blanks up to the permissions; `width`: of what stands before. */
const valueText = (value: string, width: number, dotted: boolean): string => {
  const text = sanitised(value);
  if (MAX_WIDTH < width + value.length + TAG_LENGTH)
    return ` = "${text.slice(0, MAX_WIDTH - TAG_LENGTH - width)}\\..."`;
  const whole = ` = "${text}"`;
  return dotted ? `${whole} ${dots(width + whole.length + 1)}` : whole;
};

const append = (
  out: string[],
  node: XenstoreNode,
  at: { path: string; depth: number },
  options: XenstoreListOptions,
): void => {
  const { fullPaths = false, permissions = false } = options;
  const path = `${at.path === '/' ? '' : at.path}/${node.name}`;
  const indented = `${' '.repeat(at.depth)}${node.name}`;
  // With whole paths lines have any width, and permissions do not line up.
  let line = fullPaths
    ? `${path} = "${sanitised(node.value)}"${permissions ? ' ' : ''}`
    : indented + valueText(node.value, indented.length, permissions);
  if (permissions) line += `  (${node.permissions.join(',')})`;
  out.push(line);
  for (const child of node.children) append(out, child, { path, depth: at.depth + 1 }, options);
};

/** `xenstore-ls` below `root`, whose own line is not printed. */
export const xenstoreListText = (
  root: { readonly path: string; readonly children: readonly XenstoreNode[] },
  options: XenstoreListOptions = {},
): string => {
  const out: string[] = [];
  for (const child of root.children) append(out, child, { path: root.path, depth: 0 }, options);
  return out.map((line) => `${line}\n`).join('');
};
