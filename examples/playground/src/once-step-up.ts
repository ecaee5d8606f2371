import assert from 'node:assert/strict'
import { authenticatedFetch, authorizationCode, ChallengeError, type LoginOptions, stepUp } from '@keyturn/node'
import { measure } from './measure.ts'
import type { PartOptions } from './once.ts'
import { startServers } from './servers.ts'
import { type Cookie, type SignIn, signInOverHttp } from './sign-in-over-http.ts'

const redirectUri = 'http://127.0.0.1:9/callback'
const ada = { username: 'ada', password: 'lovelace', code: '246810' }

/** An API wants two factors and another one more scope: the person agrees, and the requests are repeated; or refuses. */
export async function steppedUp({ done, ...options }: PartOptions): Promise<void> {
  const servers = await startServers({ ...options, redirectUris: [redirectUri] })
  const { server, payments } = servers
  const cookies = new Map<string, Cookie>()
  let decision: NonNullable<SignIn['decision']> = 'allow'
  const userAgent = {
    url: redirectUri,
    async navigate(url: string) {
      this.url = await signInOverHttp(url, { ...ada, decision, cookies })
    },
    replaceUrl(url: string) {
      this.url = url
    },
  }
  const source = authorizationCode({
    issuer: server.issuer,
    clientId: 'web',
    clientSecret: 'web-secret',
    redirectUri,
    userAgent,
    scope: 'openid api:read offline_access',
  })
  const signIn = async (login?: LoginOptions) => {
    await source.login(login)
    await source.handleCallback()
  }
  const api = authenticatedFetch(source, {
    apis: payments.url,
    stepUp: stepUp(source, {
      // For scope alone the server would not ask a person who is signed in.
      confirm: ({ challenge, login }) =>
        signIn({ ...login(), ...(challenge.error === 'insufficient_scope' && { prompt: 'consent' }) }),
    }),
  })
  const post = (path: string) => api(new URL(path, payments.url), { method: 'POST', body: '{"euros":25}' })

  await signIn()
  decision = 'abort'
  done(
    await measure(
      'step-up refused: no transfer is made',
      servers,
      async () => {
        const error = await post('transfer').catch((error: unknown) => error)
        assert(
          error instanceof ChallengeError,
          `the transfer came to ${error instanceof Response ? error.status : error}`,
        )
        assert(error.challenge.acrValues !== undefined, 'the error does not say what was asked for')
        assert(payments.served === 0, 'the transfer was made')
      },
      { apiCalls: 1 },
    ),
  )
  decision = 'allow'
  done(
    await measure(
      'step-up: two factors, more scope; replayed',
      servers,
      async () => {
        for (const path of ['transfer', 'limit']) {
          const response = await post(path)
          const { bytes } = Object(await response.json())
          assert(
            response.status === 200 && bytes === 12,
            `${path} was answered ${response.status}, ${bytes} bytes came`,
          )
        }
        assert((await post('transfer')).status === 200, 'two factors were not enough for a second transfer')
        const asked = [payments.refused('insufficient-authentication'), payments.refused('insufficient-scope')]
        assert(asked.join() === '2,1', `the API asked for two factors and for scope ${asked.join(' and ')} times`)
        assert(payments.served === 3, `the API served ${payments.served} of 3 requests`)
      },
      { apiCalls: 2 },
    ),
  )
  await source[Symbol.asyncDispose]()
  await servers.stop()
}
