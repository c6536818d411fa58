import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { CHART, render } from './helm.js';
import { listedSeries } from './listed-metrics.js';
import { readPromql } from './promql.js';

interface Panel {
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig: { readonly defaults: { readonly unit?: string } };
  readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
}
interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly panels: readonly Panel[];
}

const FOLDER = join(CHART, 'dashboards');
const FILES = (await readdir(FOLDER)).sort();
const dashboards = await Promise.all(
  FILES.map(async (file) => JSON.parse(await readFile(join(FOLDER, file), 'utf8')) as Dashboard),
);
const series = await listedSeries();

/** What is wrong with an expression: not PromQL, or it names what no process shows. */
const faultsOf = (text: string): readonly string[] => {
  const { selected, grouped } = readPromql(text);
  const unknown = selected.flatMap(({ metric, labels }) => {
    const known = series.get(metric);
    if (known === undefined) return [`no metric ${metric}`];
    return labels.filter((label) => !known.has(label)).map((label) => `no label ${label} of ${metric}`);
  });
  const ungrouped = grouped.flatMap(({ labels, metrics }) =>
    labels
      .filter((label) => !metrics.some((metric) => series.get(metric)?.has(label) === true))
      .map((label) => `nothing to group by ${label} in ${metrics.join(', ')}`),
  );
  return [...unknown, ...ungrouped];
};

const asked = (expr: string): string => expr.replaceAll('$__rate_interval', '5m');

describe('dashboards', () => {
  it('are one for the whole, and one each for services, log, hosts and scheduling', () => {
    expect(FILES).toEqual(
      ['hosts', 'log', 'overview', 'scheduling', 'services'].map((name) => `xenolith-${name}.json`),
    );
    expect(dashboards.map(({ uid }) => `${uid}.json`)).toEqual(FILES);
  });

  it.each(dashboards)('$title names only metrics and labels that are listed', ({ panels }) => {
    const faults = panels.flatMap(({ title, targets }) =>
      targets.flatMap(({ expr }) => faultsOf(asked(expr)).map((fault) => `${title}: ${fault}`)),
    );
    expect(faults).toEqual([]);
  });

  it.each(dashboards)(
    '$title has legends of labels that its series have, a unit and a meaning for each panel',
    ({ panels }) => {
      for (const { title, description, fieldConfig, targets } of panels) {
        expect(description, title).toMatch(/\.$/);
        expect(fieldConfig.defaults.unit, title).toBeTruthy();
        for (const { expr, legendFormat } of targets) {
          const { selected, grouped } = readPromql(asked(expr));
          const outer = grouped[0]?.labels ?? [];
          const own = selected.flatMap(({ metric }) => [...(series.get(metric) ?? [])]);
          for (const [, label = ''] of legendFormat.matchAll(/\{\{(\w+)\}\}/g))
            expect(
              grouped.length > 0 && outer.length > 0 ? [...outer, ...grouped.flatMap(({ labels }) => labels)] : own,
              `${title}: ${legendFormat}`,
            ).toContain(label);
        }
      }
    },
  );

  it.each(dashboards)('$title has panels that do not cover each other', ({ panels }) => {
    const taken = new Set<string>();
    for (const { title, gridPos } of panels)
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x += 1)
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y += 1) {
          expect(x, title).toBeLessThan(24);
          expect(taken, title).not.toContain(`${x}/${y}`);
          taken.add(`${x}/${y}`);
        }
  });

  it('show every metric that is listed, but for those that only tell of one machine in detail', () => {
    const shown = new Set(
      dashboards.flatMap(({ panels }) =>
        panels.flatMap(({ targets }) =>
          targets.flatMap(({ expr }) => readPromql(asked(expr)).selected.map(({ metric }) => metric)),
        ),
      ),
    );
    const family = (name: string): string => name.replace(/_(bucket|sum|count)$/, '');
    const left = [...new Set([...series.keys()].map(family))].filter(
      (name) => name.startsWith('xenolith_') && ![...shown].some((metric) => family(metric) === name),
    );
    expect(left.sort()).toEqual([
      'xenolith_agent_domains',
      'xenolith_api_cache_position',
      'xenolith_build_info',
      'xenolith_vm_balloon_target_bytes',
      'xenolith_vm_cpu_seconds_total',
      'xenolith_vm_figures_left_out',
      'xenolith_vm_memory_bytes',
      'xenolith_vm_ring_full_seconds_total',
      'xenolith_vm_shared_memory_bytes',
      'xenolith_vm_steal_seconds_total',
    ]);
  });

  it('come as ConfigMaps that Grafana’s sidecar finds', async () => {
    const objects = await render('metrics.dashboards.enabled=true');
    const carried = objects.filter(({ metadata }) => metadata.labels?.['grafana_dashboard'] === '1');
    const texts = carried.flatMap((object) => Object.entries(object['data'] as Record<string, string>));
    expect(texts.map(([file]) => file).sort()).toEqual(FILES);
    for (const [file, text] of texts)
      expect(JSON.parse(text)).toEqual(JSON.parse(await readFile(join(FOLDER, file), 'utf8')));
  });
});

describe('alerts', () => {
  it('name only metrics and labels that are listed', async () => {
    const { groups } = parse(await readFile(join(CHART, 'files', 'alerts.yaml'), 'utf8')) as {
      groups: readonly { rules: readonly { alert: string; expr: string }[] }[];
    };
    const faults = groups.flatMap(({ rules }) =>
      rules.flatMap(({ alert, expr }) => faultsOf(expr).map((fault) => `${alert}: ${fault}`)),
    );
    expect(faults).toEqual([]);
  });
});

describe('the check of expressions', () => {
  it('finds what is no PromQL, and metrics and labels that nobody shows', () => {
    expect(() => readPromql('sum by (a (up)')).toThrow('not PromQL');
    expect(faultsOf('rate(xenolith_unheard_of_total[5m])')).toEqual(['no metric xenolith_unheard_of_total']);
    expect(faultsOf('xenolith_hosts{verb="get"}')).toEqual(['no label verb of xenolith_hosts']);
    expect(faultsOf('sum by (verb) (xenolith_hosts)')).toEqual(['nothing to group by verb in xenolith_hosts']);
  });
});
