// Writes the bill of materials of each program, CycloneDX in JSON, beside it: of what npm knows, the packages that the bundle really took in, with
// Node and the system's libraries, which the image carries too. The bundle's source maps say what went in.
//
//   node deploy/docker/sbom.mjs SYSTEM_PACKAGES     (a file of lines "NAME VERSION", as dpkg-query shows them)
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';

const DIST = 'deploy/docker/dist';
const [, , systemPackages] = process.argv;

// Peers that nothing uses are not installed (.npmrc), which npm would call a problem.
const known = JSON.parse(
  execFileSync('npm', ['sbom', '--legacy-peer-deps', '--sbom-format=cyclonedx', '--loglevel=error'], {
    encoding: 'utf8',
    maxBuffer: 64 * 2 ** 20,
  }),
);

/** The package's folder that a file of a source map lies in, from the repository's root. */
const folderOf = (source) => {
  const file = source.replace(/^(\.\.\/)+/, '');
  const installed = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file);
  return installed?.[1] ?? file.split('/').slice(0, 2).join('/');
};

/** What went into a program, each by its name and version, as npm refers to it. */
const bundled = (program) => {
  const folder = join(DIST, program);
  const maps = readdirSync(folder).filter((name) => name.endsWith('.map'));
  const sources = maps.flatMap((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')).sources);
  const references = [...new Set(sources.map(folderOf))].map((found) => {
    const { name, version } = JSON.parse(readFileSync(join(found, 'package.json'), 'utf8'));
    return `${name}@${version}`;
  });
  return new Set(references);
};

const systemComponents = readFileSync(systemPackages, 'utf8')
  .trim()
  .split('\n')
  .map((line) => {
    const [name, version] = line.split(' ');
    return {
      'bom-ref': `deb:${name}`,
      type: 'library',
      name,
      version,
      purl: `pkg:deb/debian/${name}@${encodeURIComponent(version)}`,
    };
  });

const node = {
  'bom-ref': 'node',
  type: 'platform',
  name: 'node',
  version: process.versions.node,
  purl: `pkg:generic/node@${process.versions.node}`,
};

for (const program of readdirSync(DIST)) {
  const references = bundled(program);
  const packages = known.components.filter((component) => references.has(component['bom-ref']));
  const unknown = references.difference(new Set(packages.map((component) => component['bom-ref'])));
  if (unknown.size > 0) throw new Error(`${program} holds what npm does not know: ${[...unknown].join(', ')}`);
  const name = `xenolith-${program}`;
  const component = { ...known.metadata.component, type: 'application', name, 'bom-ref': name };
  const bill = {
    bomFormat: known.bomFormat,
    specVersion: known.specVersion,
    version: 1,
    // Without the time: the same sources give the same image.
    metadata: { ...known.metadata, timestamp: undefined, component },
    components: [...packages, node, ...systemComponents],
  };
  writeFileSync(join(DIST, program, 'sbom.cdx.json'), `${JSON.stringify(bill, null, 1)}\n`);
}
