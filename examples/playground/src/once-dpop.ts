import assert from 'node:assert/strict'
import { authenticatedFetch, authorizationCode, clientCredentials, dpop, type TokenSource } from '@keyturn/node'
import { measure } from './measure.ts'
import type { PartOptions } from './once.ts'
import { startServers } from './servers.ts'
import { signInOverHttp } from './sign-in-over-http.ts'

const redirectUri = 'http://127.0.0.1:9/callback'
const ROUNDS = 5

/** A machine and a person with tokens that are bound to keys; both servers want nonces, and a thief gets nothing. */
export async function boundToKeys({ done, ...options }: PartOptions): Promise<void> {
  const servers = await startServers({ ...options, spaOrigins: [new URL(redirectUri).origin] })
  const { server, vault } = servers
  const bound = { issuer: server.issuer, resource: vault.audience, dpop: dpop() }
  const machine = clientCredentials({
    ...bound,
    clientId: 'worker',
    clientSecret: 'worker-secret',
    scope: 'api:read',
  })
  const userAgent = {
    url: redirectUri,
    async navigate(url: string) {
      this.url = await signInOverHttp(url, { username: 'ada', password: 'lovelace' })
    },
    replaceUrl(url: string) {
      this.url = url
    },
  }
  const person = authorizationCode({ ...bound, clientId: 'spa-dpop', redirectUri, userAgent, scope: 'openid api:read' })
  const sent: Request[] = []
  const watched: typeof fetch = (input, init) => {
    const request = new Request(input, init)
    sent.push(request.clone())
    return fetch(request)
  }
  const callerOf = (source: TokenSource) => authenticatedFetch(source, { apis: vault.url, fetch: watched })

  done(
    await measure(
      'DPoP: 2 keys, nonces at both servers',
      servers,
      async () => {
        await person.login()
        await person.handleCallback()
        const callers = [callerOf(machine), callerOf(person)]
        const keys = new Set<unknown>()
        for (let round = 0; round < ROUNDS; round++) {
          if (round === 2) vault.forgetNonces()
          for (const call of callers) {
            const response = await call(vault.url)
            assert(response.status === 200, `the vault answered ${response.status}`)
            keys.add(Object(await response.json()).key)
          }
        }
        assert(keys.size === 2 && !keys.has(undefined), `${keys.size} keys instead of 2`)
        const asked = [server.tokenRequests({ error: 'use_dpop_nonce' }), vault.refused('nonce-required')]
        assert(asked.join() === '2,4', `the servers asked for nonces ${asked.join(' and ')} times instead of 2 and 4`)
      },
      { tokenRequests: 2, apiCalls: 4 },
    ),
  )
  done(
    await measure(
      'DPoP: a stolen token is refused',
      servers,
      async () => {
        const stolen = await machine.getAccessToken()
        const replayed = sent.at(-2)
        assert(replayed?.headers.get('authorization') === `DPoP ${stolen}`, 'no proof of the machine was seen')
        const thefts: [how: string, headers: HeadersInit, error: string][] = [
          ['as Bearer', { authorization: `Bearer ${stolen}` }, 'invalid-token'],
          ['without a proof', { authorization: `DPoP ${stolen}` }, 'invalid-proof'],
          ['with a proof that was used', replayed.headers, 'invalid-proof'],
        ]
        for (const [how, headers, error] of thefts) {
          const before = vault.refused(error)
          const { status } = await fetch(vault.url, { headers })
          assert(status === 401 && vault.refused(error) === before + 1, `${how}, the vault answered ${status}`)
        }
      },
      { apiCalls: 3 },
    ),
  )
  await machine[Symbol.asyncDispose]()
  await person[Symbol.asyncDispose]()
  await servers.stop()
}
