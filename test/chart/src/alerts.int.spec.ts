import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { ALERT_CASES, type AlertCase } from './alert-cases.js';
import { CHART, render } from './helm.js';
import { promtool, promtoolLack } from './prometheus.js';

const RULES = join(CHART, 'files', 'alerts.yaml');
const RUNBOOKS = resolve(CHART, '../../../docs/operations');

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook_url: string };
}
interface RuleFile {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
}
const { groups } = parse(await readFile(RULES, 'utf8')) as RuleFile;
const RULES_OF_ALL = groups.flatMap(({ rules }) => rules);

const inFolder = async (action: (folder: string) => Promise<void>): Promise<void> => {
  const folder = await mkdtemp(join(tmpdir(), 'xenolith-alerts-'));
  try {
    await action(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
};

/** A test of promtool: at each moment which alerts of that name fire. What they say is not compared, only what they are about. */
const promtoolTest = ({ alert, series, quiet, fires, labels, cleared }: AlertCase): object => {
  const severity = RULES_OF_ALL.find((rule) => rule.alert === alert)?.labels.severity;
  const count = (eval_time: string, samples: readonly object[]): object => ({
    expr: `ALERTS{alertname="${alert}",alertstate="firing"}`,
    eval_time,
    exp_samples: samples,
  });
  const named = Object.entries({ alertname: alert, alertstate: 'firing', severity, ...labels })
    .map(([name, value]) => `${name}="${value ?? ''}"`)
    .join(',');
  return {
    name: alert,
    interval: '30s',
    input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
    promql_expr_test: [
      ...quiet.map((time) => count(time, [])),
      count(fires, [{ labels: `ALERTS{${named}}`, value: 1 }]),
      count(cleared, []),
    ],
  };
};

describe('alerts', () => {
  it('have each a case below, and no case is without an alert', () => {
    expect(ALERT_CASES.map(({ alert }) => alert)).toEqual(RULES_OF_ALL.map(({ alert }) => alert));
  });

  it.each(RULES_OF_ALL)(
    '$alert says what it is about and where its runbook is',
    async ({ alert, labels, annotations }) => {
      expect(['critical', 'warning']).toContain(labels.severity);
      expect(annotations.summary.length).toBeGreaterThan(10);
      expect(annotations.description.length).toBeGreaterThan(30);
      expect(annotations.runbook_url).toBe(`docs/operations/${alert}.md`);
      const runbook = await readFile(join(RUNBOOKS, `${alert}.md`), 'utf8');
      expect(runbook.split('\n').filter((line) => line.startsWith('#'))).toEqual([
        `# ${alert}`,
        '## What it means',
        '## How to look',
        '## What to do',
      ]);
    },
  );

  it('have all the runbooks there are', async () => {
    const files = (await readdir(RUNBOOKS)).filter((name) => name.startsWith('Xenolith')).sort();
    expect(files).toEqual(RULES_OF_ALL.map(({ alert }) => `${alert}.md`).sort());
  });

  it('are accepted by promtool', async (context) => {
    context.skip(promtoolLack !== null, promtoolLack ?? '');
    expect(await promtool('check', 'rules', RULES)).toContain(`${RULES_OF_ALL.length} rules found`);
  });

  it('of the chart are the same, for its namespace, and promtool takes them', async (context) => {
    context.skip(promtoolLack !== null, promtoolLack ?? '');
    const objects = await render(
      'metrics.prometheusRule.enabled=true',
      'metrics.prometheusRule.runbookBaseUrl=https://runbooks.example.com/',
      'agent.enabled=false',
    );
    const spec = objects.find(({ kind }) => kind === 'PrometheusRule')?.['spec'] as RuleFile;
    const rules = spec.groups.flatMap((group) => group.rules);
    expect(rules.map(({ alert }) => alert)).toEqual(RULES_OF_ALL.map(({ alert }) => alert));
    for (const { expr, annotations } of rules) {
      for (const [named] of expr.matchAll(/\b(xenolith_\w+|process_start_time_seconds)(?!\w)(.{0,20})/g))
        expect(named).toContain('{namespace="virtual"');
      expect(annotations.runbook_url).toMatch(/^https:\/\/runbooks\.example\.com\/Xenolith\w+\.md$/);
    }
    expect(rules[0]?.expr).not.toContain('agent');
    await inFolder(async (folder) => {
      await writeFile(join(folder, 'rules.yaml'), stringify(spec));
      expect(await promtool('check', 'rules', join(folder, 'rules.yaml'))).toContain(`${rules.length} rules found`);
    });
  });

  it.for(ALERT_CASES)(
    '$alert fires by its fault, after its time, and is cleared by recovery',
    async (alertCase, context) => {
      context.skip(promtoolLack !== null, promtoolLack ?? '');
      await inFolder(async (folder) => {
        const file = join(folder, 'test.yaml');
        await writeFile(
          file,
          stringify({ rule_files: [RULES], evaluation_interval: '30s', tests: [promtoolTest(alertCase)] }),
        );
        expect(await promtool('test', 'rules', file)).toContain('SUCCESS');
      });
    },
  );
});
