import { describe, expect, it } from 'vitest';
import { bitmapText } from './columns.js';
import { blockListText, networkListText } from './device-list.js';
import { domnameText, domidText, invalidDomain } from './errors.js';
import { listText, vcpuListText } from './list.js';
import { xmListText } from './xm.js';
import { credit2Text, creditText } from './scheduler-list.js';
import { shortUptimeText, uptimeText } from './uptime.js';
import type { DomainFacts } from './views.js';
import { xenstoreListText } from './xenstore-ls.js';
import { topText } from './xentop.js';

const dom0: DomainFacts = {
  ...{ domid: 0, name: 'Domain-0', uuid: '00000000-0000-0000-0000-000000000000' },
  ...{ memoryKib: 4_194_304, outstandingKib: 0, maxMemoryKib: Infinity, vcpusOnline: 16 },
  ...{ running: true, blocked: false, paused: false, dying: false, shutdown: null },
  ...{ cpuTimeNs: 1_234_560_000_000, cpupool: 'Pool-0', nodeAffinity: [0, 1] },
};
const web: DomainFacts = {
  ...dom0,
  ...{
    domid: 7,
    name: 'web-1',
    uuid: '3e9f0d2c-5f7b-4d3a-9c1e-0a2b4c6d8e0f',
    memoryKib: 2_097_152,
    maxMemoryKib: 2_098_176,
  },
  ...{ vcpusOnline: 2, running: false, blocked: true, cpuTimeNs: 8_150_000_000 },
};

// The expected texts were laid out by hand from the format strings of tools/xl and tools/xentop.
describe('what xl prints', () => {
  it('lists domains', () => {
    expect(listText([dom0, web])).toBe(
      'Name                                        ID   Mem VCPUs\tState\tTime(s)\n' +
        'Domain-0                                     0  4096    16     r-----    1234.6\n' +
        'web-1                                        7  2048     2     -b----       8.2\n',
    );
  });

  it('shows how a domain ended by the fifth letter, and one without a name', () => {
    const state = (facts: Partial<DomainFacts>): string | undefined =>
      listText([{ ...web, blocked: false, ...facts }])
        .split('\n')[1]
        ?.slice(63, 69);
    expect(state({ shutdown: 'poweroff' })).toBe('---s--');
    expect(state({ shutdown: 'reboot' })).toBe('---sr-');
    expect(state({ shutdown: 'suspend' })).toBe('---ss-');
    expect(state({ shutdown: 'crash' })).toBe('---sc-');
    expect(state({ shutdown: 'watchdog' })).toBe('---sw-');
    expect(state({ shutdown: 'soft_reset' })).toBe('---sS-');
    expect(state({ paused: true, dying: true })).toBe('--p--d');
    expect(listText([{ ...web, name: null }])).toContain(`\n(null)${' '.repeat(34)}     7 `);
  });

  it('adds uuid, reason and label by -v, and nodes by -n', () => {
    const row = listText([{ ...web, shutdown: 'crash' }], { verbose: true, numaNodes: 2 }).split('\n')[1];
    expect(row?.slice(79)).toBe(' 3e9f0d2c-5f7b-4d3a-9c1e-0a2b4c6d8e0f        3                - all');
  });

  it('lists vCPUs with both affinities', () => {
    const vcpu = {
      vcpu: 0,
      pcpu: 12,
      online: true,
      running: true,
      blocked: false,
      cpuTimeNs: 3_250_000_000,
      hardAffinity: [0, 1, 2, 3, 8],
      softAffinity: [...Array(16).keys()],
    };
    expect(vcpuListText([{ domid: 7, name: 'web-1', vcpus: [vcpu, { ...vcpu, vcpu: 1, online: false }] }], 16)).toBe(
      'Name                                ID  VCPU   CPU State   Time(s) Affinity (Hard / Soft)\n' +
        'web-1                                7     0   12   r--       3.3  0-3,8 / all\n' +
        'web-1                                7     1    -   --p       3.3  0-3,8 / all\n',
    );
  });

  it('writes sets of CPUs as print_bitmap does', () => {
    expect(bitmapText([], 4)).toBe('none');
    expect(bitmapText([0, 1, 2, 3], 4)).toBe('all');
    expect(bitmapText([1, 2, 3], 4)).toBe('1-3');
    expect(bitmapText([0, 2, 3, 5], 8)).toBe('0,2-3,5');
    expect(bitmapText([7], 8)).toBe('7');
  });

  it('lists scheduler parameters', () => {
    expect(
      credit2Text({ name: 'Pool-0', rateLimitUs: 1000 }, [{ name: 'Domain-0', domid: 0, weight: 256, cap: 0 }]),
    ).toBe(
      'Cpupool Pool-0: ratelimit=1000us\n' +
        'Name                                ID Weight  Cap\n' +
        'Domain-0                             0    256    0\n',
    );
    expect(creditText({ name: 'Pool-0', sliceMs: 30, rateLimitUs: 1000, migrationDelayUs: 0 }, [])).toContain(
      'Cpupool Pool-0: tslice=30ms ratelimit=1000us migration-delay=0us\n',
    );
  });

  it('lists network and block devices', () => {
    expect(
      networkListText([
        {
          devid: 0,
          backendDomid: 0,
          mac: '00:16:3e:00:00:07',
          state: 4,
          eventChannel: 17,
          txRingRef: 768,
          rxRingRef: 769,
          backendPath: '/local/domain/0/backend/vif/7/0',
        },
      ]),
    ).toBe(
      `Idx BE Mac Addr.         handle state evt-ch   tx-/rx-ring-ref BE-path${' '.repeat(23)}\n` +
        '0   0  00:16:3e:00:00:07      0     4     17   768/769         /local/domain/0/backend/vif/7/0\n',
    );
    expect(
      blockListText([
        {
          devid: 51712,
          backendDomid: 0,
          frontendDomid: 7,
          state: 4,
          eventChannel: 18,
          ringRef: 8,
          backendPath: '/local/domain/0/backend/vbd/7/51712',
        },
      ]),
    ).toBe(
      `Vdev  BE  handle state evt-ch ring-ref BE-path${' '.repeat(23)}\n` +
        '51712 0   7      4     18     8        /local/domain/0/backend/vbd/7/51712\n',
    );
  });

  it('tells for how long domains are up', () => {
    const domains = [
      { name: 'Domain-0', domid: 0, uptimeSeconds: 2 * 86_400 + 3 * 3600 + 4 * 60 + 5 },
      { name: 'web-1', domid: 7, uptimeSeconds: 59 },
    ];
    expect(uptimeText(domains)).toBe(
      'Name                                ID Uptime\n' +
        'Domain-0                             0 2 days,  3:04:05\n' +
        'web-1                                7  0:00:59\n',
    );
    expect(shortUptimeText(domains, 3661)).toBe(
      ' 01:01:01 up 2 days,  3:04, Domain-0 (0)\n 01:01:01 up  0:00, web-1 (7)\n',
    );
  });

  it('refuses what does not exist in the words of xl', () => {
    expect(invalidDomain('xyz')).toEqual({
      stdout: '',
      stderr: 'xyz is an invalid domain identifier (rc=-6)\n',
      exitCode: 1,
    });
    expect(domidText('web-1', 7).stdout).toBe('7\n');
    expect(domidText('xyz', null).stderr).toBe(
      "Can't get domid of domain name 'xyz', maybe this domain does not exist.\n",
    );
    expect(domnameText('abc', null)).toEqual({ stdout: '', stderr: 'Invalid domain id.\n\n', exitCode: 1 });
    expect(domnameText('99', null).stderr).toBe(
      "Can't get domain name of domain id '99', maybe this domain does not exist.\n",
    );
  });

  it('shows the batch columns of xentop, by domid', () => {
    const requests = { outOf: 0, reads: 1234, writes: 56_789, readSectors: 98_765, writtenSectors: 1_234_567 };
    const top = {
      cpuPercent: 12.34,
      nics: 1,
      sentBytes: 10_240,
      receivedBytes: 2_048_000,
      disks: 1,
      requests,
      ssid: 0,
    };
    const none = { outOf: 0, reads: 0, writes: 0, readSectors: 0, writtenSectors: 0 };
    expect(
      topText(
        [
          { ...web, ...top },
          { ...dom0, ...top, nics: 0, disks: 0, sentBytes: 0, receivedBytes: 0, requests: none },
        ],
        134_217_728,
      ),
    ).toBe(
      '      NAME  STATE   CPU(sec) CPU(%)     MEM(k) MEM(%)  MAXMEM(k) MAXMEM(%) VCPUS NETS NETTX(k) NETRX(k) VBDS   VBD_OO   VBD_RD   VBD_WR  VBD_RSECT  VBD_WSECT SSID\n' +
        '  Domain-0 -----r       1234   12.3    4194304    3.1   no limit       n/a    16    0        0        0    0        0        0        0          0          0    0\n' +
        '     web-1 --b---          8   12.3    2097152    1.6    2098176       1.6     2    1       10     2000    1        0     1234    56789      98765    1234567    0\n',
    );
  });

  it('walks xenstore with permissions, indented or by whole paths', () => {
    const root = {
      path: '/local/domain',
      children: [
        {
          name: '7',
          value: '',
          permissions: ['n0', 'r7'],
          children: [{ name: 'name', value: 'web\n1', permissions: ['n0'], children: [] }],
        },
      ],
    };
    expect(xenstoreListText(root)).toBe('7 = ""\n name = "web\\n1"\n');
    expect(xenstoreListText(root, { fullPaths: true, permissions: true })).toBe(
      '/local/domain/7 = ""   (n0,r7)\n/local/domain/7/name = "web\\n1"   (n0)\n',
    );
    const [first] = xenstoreListText(root, { permissions: true }).split('\n');
    expect(first).toBe(`7 = "" ${'. '.repeat(26)}.  (n0,r7)`);
  });

  it('lists domains as xm did', () => {
    expect(xmListText([dom0])).toBe(
      'Name                                        ID   Mem VCPUs      State   Time(s)\n' +
        'Domain-0                                     0  4096    16     r-----   1234.6\n',
    );
  });
});
