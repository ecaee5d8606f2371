import {
  AuthorizationCodeFlow,
  type ClientAuthentication,
  clientCredentials,
  clientSecretBasic,
  clientSecretPost,
  memoryTransactions,
  none,
  OAuthError,
  refreshToken,
  type SourceOptions,
  TokenManager,
} from '@keyturn/core'
import { afterEach, expect, test, vi } from 'vitest'
import { FakePage, rejection } from './sign-in-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

interface Sent {
  authorization: string | null
  body: URLSearchParams
}

/** Asks for a token, and says how the client proved who it is. */
async function sentBy(options: Partial<SourceOptions>, metadata: object = {}): Promise<Sent> {
  const sent: Sent[] = []
  const source = clientCredentials({
    issuer: 'https://as.example',
    clientId: 'worker',
    discovery: false,
    metadata: { token_endpoint: 'https://as.example/token', ...metadata },
    onWarning: () => {},
    fetch: async (input, init) => {
      const request = new Request(input, init)
      sent.push({
        authorization: request.headers.get('authorization'),
        body: new URLSearchParams(await request.text()),
      })
      return Response.json({ access_token: 'a', token_type: 'Bearer' })
    },
    ...options,
  })
  await source.getAccessToken()
  const [first] = sent
  if (first === undefined || sent.length > 1) throw new Error('not one request')
  return first
}

const basic = (text: string) => `Basic ${Buffer.from(text, 'utf8').toString('base64')}`

test('a secret goes as HTTP Basic, and then not in the body', async () => {
  const { authorization, body } = await sentBy({ clientSecret: 's3cret' })
  expect(authorization).toBe(basic('worker:s3cret'))
  expect(body.has('client_secret')).toBe(false)
  expect(body.has('client_id')).toBe(false)
})

test.each([
  ['3f2504e0-4f89-11d3-9a0c-0305e82c3301', '3f2504e0-4f89-11d3-9a0c-0305e82c3301'],
  ['-._*', '-._*'],
  ['a b', 'a+b'],
  ['a:b', 'a%3Ab'],
  ['a+b/c=', 'a%2Bb%2Fc%3D'],
  ['100%&?#', '100%25%26%3F%23'],
  ["~!'()", '%7E%21%27%28%29'],
  ['pässwörd', 'p%C3%A4ssw%C3%B6rd'],
  ['€🔑', '%E2%82%AC%F0%9F%94%91'],
  ['a\nb', 'a%0Ab'],
])('the identifier and the secret "%s" are form-encoded for Basic as "%s"', async (plain, encoded) => {
  const { authorization } = await sentBy({ clientId: plain, clientSecret: plain })
  expect(authorization).toBe(basic(`${encoded}:${encoded}`))
})

test('encoding none leaves every character as it is, in UTF-8', async () => {
  const clientAuthentication = clientSecretBasic({ encoding: 'none' })
  const { authorization } = await sentBy({ clientId: 'ä b', clientSecret: 'a:b+c/=%€', clientAuthentication })
  expect(authorization).toBe(basic('ä b:a:b+c/=%€'))
})

test('a secret that is posted is in the body alone', async () => {
  for (const clientAuthentication of ['client_secret_post', clientSecretPost()] as const) {
    const { authorization, body } = await sentBy({ clientSecret: 'a b+ä', clientAuthentication })
    expect(authorization).toBeNull()
    expect(body.getAll('client_id')).toEqual(['worker'])
    expect(body.getAll('client_secret')).toEqual(['a b+ä'])
  }
})

test('a public client sends its identifier alone', async () => {
  const chosen = [
    {},
    { clientAuthentication: 'none' },
    { clientAuthentication: none(), clientSecret: 'unused' },
  ] as const
  for (const options of chosen) {
    const { authorization, body } = await sentBy(options)
    expect(authorization).toBeNull()
    expect(body.getAll('client_id')).toEqual(['worker'])
    expect(body.has('client_secret')).toBe(false)
  }
})

test('without a choice the metadata decides: Basic unless the server knows only post', async () => {
  const post = { token_endpoint_auth_methods_supported: ['client_secret_post', 'private_key_jwt'] }
  expect((await sentBy({ clientSecret: 's3cret' }, post)).body.get('client_secret')).toBe('s3cret')
  for (const supported of [undefined, [], ['client_secret_post', 'client_secret_basic'], ['client_secret_jwt']]) {
    const { authorization } = await sentBy(
      { clientSecret: 's3cret' },
      { token_endpoint_auth_methods_supported: supported },
    )
    expect(authorization).toBe(basic('worker:s3cret'))
  }
})

test('what the options choose comes before the metadata', async () => {
  const post = { token_endpoint_auth_methods_supported: ['client_secret_post'] }
  const { authorization } = await sentBy({ clientSecret: 's3cret', clientAuthentication: 'client_secret_basic' }, post)
  expect(authorization).toBe(basic('worker:s3cret'))
})

test('a function of the app authenticates as it likes, with server, client, body and headers', async () => {
  const own: ClientAuthentication = async (server, client, body, headers) => {
    await Promise.resolve()
    headers.set('authorization', `Own ${new URL(server.issuer).host} ${client.client_id} ${body.get('grant_type')}`)
    body.set('client_assertion', 'signed')
  }
  const { authorization, body } = await sentBy({ clientAuthentication: own })
  expect(authorization).toBe('Own as.example worker client_credentials')
  expect(body.get('client_assertion')).toBe('signed')
})

test('a function of the app that fails is reported as what it is, and nothing is sent', async () => {
  const failing: ClientAuthentication = () => Promise.reject(new Error('the vault is sealed'))
  const error = await rejection(sentBy({ clientAuthentication: failing }))
  expect(error).toBeInstanceOf(OAuthError)
  expect(error).toMatchObject({ code: 'callback-failed' })
})

test('a secret function that fails is reported as what it is, and nothing is sent', async () => {
  for (const clientSecret of [
    () => Promise.reject(new Error('the vault is sealed')),
    () => {
      throw new Error('the vault is sealed')
    },
  ]) {
    expect(await rejection(sentBy({ clientSecret }))).toMatchObject({ code: 'callback-failed', retryable: true })
  }
})

test('a method that needs a secret does not go without one', async () => {
  for (const clientAuthentication of ['client_secret_basic', 'client_secret_post'] as const) {
    expect(await rejection((async () => sentBy({ clientAuthentication }))())).toMatchObject({ code: 'invalid-options' })
  }
})

test('a secret function without a secret does not send the word undefined', async () => {
  const clientSecret = () => undefined as unknown as string
  expect(await rejection(sentBy({ clientSecret }))).toBeInstanceOf(OAuthError)
})

test('extra parameters do not take the place of what identifies the client', async () => {
  const parameters = { client_id: 'mine', client_secret: 'mine', grant_type: 'mine', audience: 'a' }
  for (const clientAuthentication of ['client_secret_basic', 'client_secret_post'] as const) {
    const { body } = await sentBy({ clientSecret: 's3cret', clientAuthentication, parameters })
    expect([...body.values()]).not.toContain('mine')
    expect(body.get('audience')).toBe('a')
  }
})

test("a manager of the app's own grant takes a secret, too", async () => {
  let authorization: string | null = null
  const grant = new TokenManager((client) => client.tokenRequest('urn:example:own', new URLSearchParams()), {
    issuer: 'https://as.example',
    clientId: 'worker',
    clientSecret: 's3cret',
    discovery: false,
    metadata: { token_endpoint: 'https://as.example/token' },
    fetch: async (input, init) => {
      authorization = new Request(input, init).headers.get('authorization')
      return Response.json({ access_token: 'a', token_type: 'Bearer' })
    },
  })
  expect(await grant.getAccessToken()).toBe('a')
  expect(authorization).toBe(basic('worker:s3cret'))
})

test('the flow by itself, as a page has it, takes no secret but with a function that sends it', () => {
  const options = {
    issuer: 'https://as.example',
    clientId: 'page',
    redirectUri: 'https://app.example/',
    userAgent: new FakePage(),
    transactions: memoryTransactions(),
  }
  const secret = { clientSecret: 's3cret' }
  for (const wrong of [secret, { ...secret, clientAuthentication: 'client_secret_post' as const }]) {
    expect(() => new AuthorizationCodeFlow({ ...options, ...wrong })).toThrow(
      expect.objectContaining({ code: 'invalid-options', fix: expect.stringContaining('clientSecretPost()') }),
    )
  }
  for (const clientAuthentication of [clientSecretPost(), 'none', undefined] as const) {
    const given = clientAuthentication === undefined ? {} : secret
    expect(() => new AuthorizationCodeFlow({ ...options, ...given, clientAuthentication })).not.toThrow()
  }
})

test('a client without a secret that is refused is not sent again for a minute, after a second signature was tried', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  let serial = 0
  const assertion: ClientAuthentication = (_server, _client, body) => body.set('client_assertion', `${++serial}`)
  for (const [clientAuthentication, tries] of [
    ['none', 1],
    [assertion, 2],
  ] as const) {
    let sent = 0
    const source = refreshToken({
      issuer: 'https://as.example',
      clientId: 'page',
      clientAuthentication,
      refreshToken: 'seed',
      discovery: false,
      metadata: { token_endpoint: 'https://as.example/token' },
      fetch: async () => {
        sent++
        return Response.json({ error: 'invalid_client' }, { status: 401 })
      },
    })
    for (let call = 0; call < 10; call++) {
      expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'client-refused' })
    }
    expect(sent).toBe(tries)
    vi.setSystemTime(Date.now() + 61_000)
    expect(await rejection(source.getAccessToken())).toMatchObject({ code: 'client-refused' })
    expect(sent).toBe(2 * tries)
  }
})
