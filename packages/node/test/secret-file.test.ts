import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { clientCredentials, secretFile, TokenUnavailableError } from '@keyturn/node'
import { expect, onTestFinished, test } from 'vitest'

/** A worker whose secret is in a file, and the secrets that it sends. */
function worker() {
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-secret-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const path = join(folder, 'secret')
  const sent: string[] = []
  const source = clientCredentials({
    issuer: 'https://as.example',
    discovery: false,
    metadata: { token_endpoint: 'https://as.example/token' },
    clientId: 'worker',
    clientSecret: secretFile(path),
    fetch: async (input, init) => {
      const basic = new Request(input, init).headers.get('authorization')?.replace('Basic ', '')
      sent.push(atob(basic ?? ''))
      return Response.json({ access_token: `token-${sent.length}`, token_type: 'Bearer', expires_in: 3600 })
    },
  })
  return { path, source, sent }
}

test('a secret is read anew at every request, without the white space around it', async () => {
  const { path, source, sent } = worker()
  writeFileSync(path, ' first\n')
  const rejectedToken = await source.getAccessToken()
  await source.getAccessToken()
  writeFileSync(path, 'second\r\n')
  await source.getAccessToken({ rejectedToken })
  expect(sent).toEqual(['worker:first', 'worker:second'])
  expect(await secretFile(pathToFileURL(path))()).toBe('second')
})

test.each([
  ['is not there', undefined, 'ENOENT'],
  ['is empty', '\n', 'is empty'],
])('a file that %s is told with its path, as what may pass, and nothing is sent', async (_, content, told) => {
  const { path, source, sent } = worker()
  if (content !== undefined) writeFileSync(path, content)
  const error = await source.getAccessToken().catch((thrown) => thrown)
  expect(error).toBeInstanceOf(TokenUnavailableError)
  expect(error).toMatchObject({ code: 'callback-failed', retryable: true })
  expect(error.cause.message).toContain(told)
  expect(error.cause.message).toContain(path)
  expect(sent).toEqual([])
})
