import { spawnSync } from 'node:child_process'
import { createHash, X509Certificate } from 'node:crypto'

/** A key and its self-signed certificate, as PEM. */
export interface TestCertificate {
  readonly key: string
  readonly cert: string
  readonly der: Uint8Array
  /** `x5t#S256` (RFC 8705 section 3.1). */
  readonly thumbprint: string
}

/** Whether this machine can make certificates. */
export const hasOpenssl: boolean = spawnSync('openssl', ['version']).status === 0

export function certificate(name: string): TestCertificate {
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  const request = ['req', '-x509', ...curve, '-subj', `/CN=${name}`, '-days', '2', '-keyout', '-', '-out', '-']
  const { stdout, stderr, status } = spawnSync('openssl', request, { encoding: 'utf8' })
  if (status !== 0) throw new Error(stderr)
  const [key = ''] = /-----BEGIN PRIVATE KEY-----.*?-----END PRIVATE KEY-----\n/s.exec(stdout) ?? []
  const [cert = ''] = /-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n/s.exec(stdout) ?? []
  const { raw } = new X509Certificate(cert)
  return { key, cert, der: raw, thumbprint: createHash('sha256').update(raw).digest('base64url') }
}
