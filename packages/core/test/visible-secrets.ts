import { inspect } from 'node:util'
import { expect } from 'vitest'

/** Every way in which a secret may be written, and what is left of it when somebody cuts off its start. */
function spellings(secret: string): string[] {
  const form = new URLSearchParams({ x: secret }).toString().slice(2)
  const base64 = Buffer.from(secret).toString('base64')
  const basic = Buffer.from(`client:${form}`).toString('base64')
  return [
    secret,
    secret.slice(8),
    basic,
    form,
    encodeURIComponent(secret),
    base64,
    base64.replace(/=+$/, ''),
    JSON.stringify(secret).slice(1, -1),
  ]
}

/** What anybody can see of a value who logs it. */
function visible(value: unknown): string {
  const texts = [inspect(value, { depth: null, showHidden: true }), String(value), JSON.stringify(value) ?? '']
  for (let error = value; error instanceof Error; error = error.cause) {
    texts.push(error.message, error.stack ?? '', JSON.stringify(error, Object.getOwnPropertyNames(error)))
  }
  return texts.join('\n')
}

/** Fails where any of the secrets can be seen. */
export function expectNone(value: unknown, secrets: string[]): void {
  const text = visible(value)
  for (const secret of secrets.flatMap(spellings)) expect(text).not.toContain(secret)
}
