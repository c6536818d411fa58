import { failed, printed, xenstoreListText, type XenstoreNode } from '../xl/index.js';
import type { Host } from './host-state.js';
import { split, unknownFlag, type Tool } from './tool-calls.js';

const PATH = /^\/[A-Za-z0-9/_@-]*$/;

const nodeAt = (host: Host, path: string, name: string): XenstoreNode => {
  const value = host.xenstore.read(0, path);
  const permissions = host.xenstore.getPermissions(0, path);
  const children = host.xenstore.directory(0, path);
  return {
    name,
    value: value.ok ? value.value : '',
    permissions: permissions.ok ? permissions.value.map(({ access, domid }) => `${access}${domid}`) : [],
    children: (children.ok ? children.value : []).map((child) =>
      nodeAt(host, path === '/' ? `/${child}` : `${path}/${child}`, child),
    ),
  };
};

const exists = (host: Host, path: string): boolean => host.xenstore.read(0, path).ok;

const storeList: Tool = ({ host, args }) => {
  const asked = split(args, 'fp');
  if (typeof asked === 'string') return unknownFlag(asked);
  const [path = '/'] = asked.rest;
  if (!PATH.test(path) || !exists(host, path)) return failed('xenstore-ls: xs_directory: No such file or directory');
  const { children } = nodeAt(host, path, '');
  return printed(
    xenstoreListText({ path, children }, { fullPaths: asked.flags.has('f'), permissions: asked.flags.has('p') }),
  );
};

const storeRead: Tool = ({ host, args }) => {
  if (args.length === 0) return failed("'xenstore-read' requires at least 1 argument.");
  const values: string[] = [];
  for (const path of args) {
    const found = host.xenstore.read(0, path);
    if (!found.ok) return failed(`xenstore-read: couldn't read path ${path}`);
    values.push(`${found.value}\n`);
  }
  return printed(values.join(''));
};

const storeChildren: Tool = ({ host, args: [path = '/'] }) => {
  const found = host.xenstore.directory(0, path);
  return found.ok ? printed(found.value.map((name) => `${name}\n`).join('')) : failed('could not list path ' + path);
};

/** The commands of xenstore that only look. */
export const STORE: Readonly<Record<string, Tool>> = { list: storeChildren, ls: storeList, read: storeRead };
