import { failed } from './views.js';
import type { ToolOutput } from './views.js';

/** libxl's ERROR_INVAL, which a name that belongs to no domain gives (tools/libs/light/libxl_utils.c). */
const ERROR_INVAL = -6;

/** What most commands of xl answer for a domain that does not exist (`find_domain`, tools/xl/xl_utils.c). */
export const invalidDomain = (asked: string): ToolOutput =>
  failed(`${asked} is an invalid domain identifier (rc=${ERROR_INVAL})`);

/** `xl list NAME` where a number names no domain. */
export const domainDoesNotExist = (asked: string): ToolOutput => failed(`Error: Domain '${asked}' does not exist.`);

/** `xl domid NAME`. */
export const domidText = (name: string, domid: number | null): ToolOutput =>
  domid === null
    ? failed(`Can't get domid of domain name '${name}', maybe this domain does not exist.`)
    : { stdout: `${domid}\n`, stderr: '', exitCode: 0 };

/** `xl domname DOMID`; `asked` as it was typed. */
export const domnameText = (asked: string, name: string | null): ToolOutput => {
  const number = /^\s*[+-]?\d+/.exec(asked)?.[0];
  if (number === undefined) return failed('Invalid domain id.\n');
  if (name !== null) return { stdout: `${name}\n`, stderr: '', exitCode: 0 };
  // It prints the number unsigned.
  const domid = Number(number) >>> 0;
  return failed(`Can't get domain name of domain id '${domid}', maybe this domain does not exist.`);
};
