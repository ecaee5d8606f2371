import assert from 'node:assert/strict'
import { authenticatedFetch, authorizationCode } from '@keyturn/node'
import { measure } from './measure.ts'
import type { PartOptions } from './once.ts'
import { startServers } from './servers.ts'
import { signInOverHttp } from './sign-in-over-http.ts'

const redirectUri = 'http://127.0.0.1:9/callback'
const client = { clientId: 'web', clientSecret: 'web-secret' }

/** A person signs in through the login pages, calls both APIs and signs out. */
export async function signIn({ done, ...options }: PartOptions): Promise<void> {
  const servers = await startServers({ ...options, redirectUris: [redirectUri] })
  const { server, orders, invoices } = servers
  const refreshTokens: string[] = []
  const userAgent = {
    url: redirectUri,
    async navigate(url: string) {
      this.url = await signInOverHttp(url, { username: 'ada', password: 'lovelace' })
    },
    replaceUrl(url: string) {
      this.url = url
    },
  }
  const source = authorizationCode({
    issuer: server.issuer,
    ...client,
    redirectUri,
    userAgent,
    scope: 'openid profile api:read offline_access',
    resource: [orders.audience, invoices.audience],
    fetch: listening(refreshTokens),
  })
  const api = authenticatedFetch(source, {
    apis: [
      { url: orders.url, resource: orders.audience },
      { url: invoices.url, resource: invoices.audience },
    ],
  })

  done(
    await measure('code + PKCE through the login pages', servers, async () => {
      await source.login({ appState: '/orders' })
      const returned = await source.handleCallback()
      assert(returned?.appState === '/orders', 'appState did not come back')
      const { session } = source
      assert(session.status === 'signedIn' && session.claims?.sub === 'ada', `the session is ${session.status}`)
      assert(userAgent.url === redirectUri, 'the code stayed in the address')
    }),
  )
  done(
    await measure('both APIs with one fetch', servers, async () => {
      for (let call = 0; call < 10; call++) {
        const answers = await Promise.all([orders, invoices].map(({ url }) => api(url)))
        for (const { status, url } of answers) assert(status === 200, `${url} answered ${status}`)
      }
      assert(
        orders.served === 10 && invoices.served === 10,
        `served ${orders.served} and ${invoices.served} of 10 calls`,
      )
      assert(server.tokenRequests() <= 3, 'more than one token for each API')
    }),
  )
  done(
    await measure(
      'sign-out: the refresh token is dead',
      servers,
      async () => {
        await source.logout({ endSession: false })
        assert(source.session.status === 'signedOut', `the session is ${source.session.status}`)
        assert(
          server.log.some(({ path, status }) => path === '/token/revocation' && status === 200),
          'nothing was revoked',
        )
        const answer = await refresh(server.issuer, refreshTokens.at(-1) ?? '')
        assert(answer === 'invalid_grant', `the server still takes the refresh token (${answer})`)
      },
      { tokenRequests: 1 },
    ),
  )
  await source[Symbol.asyncDispose]()
  await servers.stop()
}

/** A fetch that keeps the refresh tokens it sees: nobody else is told them. */
function listening(refreshTokens: string[]): typeof fetch {
  return async (...request) => {
    const response = await fetch(...request)
    const { refresh_token } = Object(
      await response
        .clone()
        .json()
        .catch(() => {}),
    )
    if (typeof refresh_token === 'string') refreshTokens.push(refresh_token)
    return response
  }
}

/** What the server says to a refresh token, past the SDK. */
async function refresh(issuer: string, refreshToken: string): Promise<unknown> {
  const response = await fetch(`${issuer}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(`${client.clientId}:${client.clientSecret}`)}` },
    body: new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken }),
  })
  return Object(await response.json()).error
}
