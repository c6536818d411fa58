import { X509Certificate } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { commandFor, type DataFolder } from '../folders.js';
import { certificateNames, RENEW_BEFORE_DAYS } from '../platform/certificates.js';
import { fine, skipped, warning, wrong, type Finding } from './finding.js';

const DAY_MS = 86_400_000;
const FOR_OTHERS = 0o077;

/** Files that whoever reads them can be somebody else with. */
const secretFiles = async (folder: DataFolder): Promise<readonly string[]> => {
  const inSecrets = existsSync(folder.secrets)
    ? (await readdir(folder.secrets, { withFileTypes: true, recursive: true }))
        .filter((entry) => entry.isFile())
        .map((entry) => path.join(entry.parentPath, entry.name))
    : [];
  const keys = existsSync(folder.tls)
    ? (await readdir(folder.tls)).filter((name) => name.endsWith('.key')).map((name) => path.join(folder.tls, name))
    : [];
  const single = [folder.settingsFile, folder.kubeconfigFile, folder.tokensFile].filter((file) => existsSync(file));
  return [...single, ...keys, ...inSecrets];
};

const permissions = async (folder: DataFolder): Promise<readonly Finding[]> => {
  const files = await secretFiles(folder);
  const open: string[] = [];
  for (const file of files) if (((await stat(file)).mode & FOR_OTHERS) !== 0) open.push(file);
  if (open.length === 0) return [fine('secrets', `${files.length} files that only their owner may read`)];
  return open.map((file) =>
    wrong(
      'secrets',
      `others than its owner may read or write ${file}`,
      `chmod 600 ${file}; who else uses this machine may have read it: see docs/operations/rotate-secrets.md.`,
    ),
  );
};

/** How long a certificate of this folder is good for, in days; null: it is not there or can't be read. */
const daysLeft = async (folder: DataFolder, name: string, now: number): Promise<number | null> => {
  try {
    const certificate = new X509Certificate(await readFile(path.join(folder.tls, `${name}.crt`)));
    return (Date.parse(certificate.validTo) - now) / DAY_MS;
  } catch {
    return null;
  }
};

/** Certificates that have ended, end soon, or are not there. Each start renews those that end soon. */
export const endingCertificates = async (folder: DataFolder, now: number): Promise<readonly Finding[]> => {
  const findings: Finding[] = [];
  const advice = `A restart makes it anew: ${commandFor(folder, 'down')}, then ${commandFor(folder, 'up')}.`;
  for (const name of certificateNames) {
    const days = await daysLeft(folder, name, now);
    if (days === null) findings.push(wrong('certificates', `tls/${name}.crt is not there, or can't be read`, advice));
    else if (days < 0)
      findings.push(wrong('certificates', `tls/${name}.crt ended ${Math.ceil(-days)} days ago`, advice));
    else if (days < RENEW_BEFORE_DAYS)
      findings.push(warning('certificates', `tls/${name}.crt ends in ${Math.floor(days)} days`, advice));
  }
  return findings;
};

/** Certificates, and who may read what. */
export const lookAtFiles = async (folder: DataFolder, now: number): Promise<readonly Finding[]> => {
  if (!existsSync(folder.kubeconfigFile))
    return [skipped('certificates', 'made at the first start'), ...(await permissions(folder))];
  const ending = await endingCertificates(folder, now);
  const certificates = ending.length > 0 ? ending : [fine('certificates', `all ${certificateNames.length} are good`)];
  return [...certificates, ...(await permissions(folder))];
};
