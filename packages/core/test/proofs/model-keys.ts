import { createHash } from 'node:crypto'
import { vi } from 'vitest'

let made = 0

/** Keys that are names: what WebCrypto does takes no time, so that a seed is the same story every time. */
export function keysWithoutThreads(): void {
  const { subtle } = crypto
  const stub = (name: keyof SubtleCrypto, work: (...given: never[]) => unknown) =>
    vi.spyOn(subtle, name as 'digest').mockImplementation((async (...given: never[]) => work(...given)) as never)
  stub('generateKey', () => {
    const name = `key-${++made}`
    return { privateKey: { type: 'private', name }, publicKey: { type: 'public', name } }
  })
  stub('exportKey', (_format, { name }: { name: string }) => ({ kty: 'EC', crv: 'P-256', x: name, y: name }))
  stub('sign', () => new ArrayBuffer(64))
  stub('digest', (_name, data: Uint8Array) => new Uint8Array(createHash('sha256').update(data).digest()).buffer)
}
