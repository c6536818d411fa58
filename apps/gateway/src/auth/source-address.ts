import type { IncomingMessage } from 'node:http';
import { BlockList, isIP } from 'node:net';

/** Addresses in a header that are looked at: no request comes through more proxies. */
const MAX_HOPS = 32;

/** A network such as 10.0.0.0/8, or one address. Null: neither. */
export const parseNetwork = (text: string): { readonly address: string; readonly prefix: number } | null => {
  const [address = '', prefix, ...rest] = text.split('/');
  const family = isIP(address);
  if (family === 0 || rest.length > 0) return null;
  const bits = family === 4 ? 32 : 128;
  if (prefix === undefined) return { address, prefix: bits };
  return /^\d{1,3}$/.test(prefix) && Number(prefix) <= bits ? { address, prefix: Number(prefix) } : null;
};

/** Says where a request came from. */
export type SourceAddress = (message: IncomingMessage) => string;

const MAPPED = /^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i;

/**
 * The address of who sent a request: the connection's, or, when that is a trusted proxy's, the last in `X-Forwarded-For` that is none of a trusted proxy. What
 * anybody else writes there means nothing.
 */
export const sourceAddress = (trusted: readonly string[]): SourceAddress => {
  const proxies = new BlockList();
  for (const text of trusted) {
    const network = parseNetwork(text);
    if (network === null) throw new Error(`"${text}" is no network`);
    proxies.addSubnet(network.address, network.prefix, isIP(network.address) === 4 ? 'ipv4' : 'ipv6');
  }
  const isProxy = (address: string): boolean => proxies.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
  return (message) => {
    const peer = (message.socket.remoteAddress ?? '').replace(MAPPED, '');
    if (peer === '' || !isProxy(peer)) return peer;
    const hops = (message.headersDistinct['x-forwarded-for'] ?? []).flatMap((line) => line.split(',')).slice(-MAX_HOPS);
    let source = peer;
    for (const hop of hops.map((text) => text.trim()).toReversed()) {
      // What is no address was written by nobody whom a trusted proxy would have passed on.
      if (isIP(hop) === 0) return source;
      source = hop;
      if (!isProxy(hop)) return source;
    }
    return source;
  };
};
