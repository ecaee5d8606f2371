// Everybody who takes part, each with the same request for a token and asked in the way that its documents show.
import { OAuth2Client as BadgatewayClient, OAuth2Fetch } from '@badgateway/oauth2-client'
import { TokenManager } from '@keyturn/core'
import { memoize } from '@smithy/property-provider'
import { OAuth2Client as GoogleClient } from 'google-auth-library'

const LIFETIME = 3_600_000
const TOKEN = 'a'.repeat(40)

/** The server: answers in the next turn of the event loop, and counts. */
export const server = {
  requests: 0,
  async issue() {
    server.requests++
    await new Promise((resolve) => setImmediate(resolve))
    return { accessToken: TOKEN, expiresAt: Date.now() + LIFETIME }
  },
}

const keyturn = () => {
  const grant = async () => ({ ...(await server.issue()), tokenType: 'Bearer' })
  const source = new TokenManager(grant, { issuer: 'https://as.example', clientId: 'bench' })
  return () => source.getAccessToken()
}

/** The ten lines that everybody writes: they believe the wall clock, whoever sets it. */
const tenLines = () => linesWith((token) => Date.now() < token.expiresAt - 10_000)

/** The same for who knows that it can be set, or stand still: what has elapsed is the larger of two times. */
const tenLinesTwoClocks = () =>
  linesWith(
    (token) => Date.now() < token.expiresAt - 10_000 && performance.now() < token.issuedAtMonotonic + LIFETIME - 10_000,
  )

const linesWith = (isFresh) => {
  let token
  let pending
  return async () => {
    if (token && isFresh(token)) return token.accessToken
    pending ??= server.issue().finally(() => {
      pending = undefined
    })
    token = { ...(await pending), issuedAtMonotonic: performance.now() }
    return token.accessToken
  }
}

class GoogleWithoutNetwork extends GoogleClient {
  async refreshTokenNoCache() {
    const { accessToken, expiresAt } = await server.issue()
    return { tokens: { access_token: accessToken, expiry_date: expiresAt, token_type: 'Bearer' }, res: null }
  }
}

const google = () => {
  const client = new GoogleWithoutNetwork({ clientId: 'bench', clientSecret: 'secret' })
  client.setCredentials({ refresh_token: 'refresh' })
  return async () => (await client.getAccessToken()).token
}

const badgateway = () => {
  const client = new BadgatewayClient({ server: 'https://as.example', clientId: 'bench' })
  const getNewToken = async () => ({ ...(await server.issue()), refreshToken: null })
  const source = new OAuth2Fetch({ client, getNewToken, scheduleRefresh: false })
  return () => source.getAccessToken()
}

const aws = () => {
  const left = ({ expiresAt }) => expiresAt - Date.now()
  const provider = memoize(
    () => server.issue(),
    (token) => left(token) < 300_000,
    () => true,
  )
  return async () => (await provider()).accessToken
}

/** By name: makes a source, and gives the way to ask it. */
export const contenders = {
  keyturn,
  'ten lines': tenLines,
  '… with R10': tenLinesTwoClocks,
  'google-auth-library': google,
  badgateway,
  'AWS memoize': aws,
}
