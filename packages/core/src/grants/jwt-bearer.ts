import { clockSkew, calculatePKCECodeChallenge as sha256 } from 'oauth4webapi'
import { type AssertionKey, type PrivateKeyJwtOptions, signedAssertion } from '../client-assertion.ts'
import { type ClientAuthentication, confidential, none } from '../client-authentication.ts'
import type { AuthorizationServer } from '../discovery.ts'
import { AuthorizationServerError, isInvalidGrant, OAuthError } from '../errors.ts'
import type { Grant } from '../grant.ts'
import { withOutbox } from '../revocation-outbox.ts'
import { clockSkew as skewIn } from '../server-answers.ts'
import type { SourceOptions } from '../source-options.ts'
import { TokenManager } from '../token-manager.ts'
import { tokenParameters } from '../token-parameters.ts'
import { asked, PresentedGrants } from './presented-grants.ts'

/** What an assertion is wanted for. */
export interface AssertionRequest {
  /** The metadata of the server that it is for. */
  readonly server: AuthorizationServer
  readonly clientId: string
  /** Of the token request, as they are about to be sent; what is changed here is changed there. */
  readonly parameters: URLSearchParams
  /** Seconds that the server's clock is ahead, as far as is known. Default: none. */
  readonly ahead?: number | undefined
}

/** Gives a JWT that is a grant (RFC 7523 section 2.1): a function of one's own, or what `jwtAssertion()` gives. */
export interface BearerAssertion {
  (request: AssertionRequest): string | Promise<string>
  /** What it says that makes tokens differ; part of the session key. Default: `sessionKey` alone tells them apart. */
  readonly principal?: string | undefined
}

/** What `jwtAssertion` takes besides the key (RFC 7523 section 3). */
export interface JwtAssertionOptions extends Omit<PrivateKeyJwtOptions, 'audience'> {
  /** `iss`. Default: `clientId`. */
  issuer?: string | undefined
  /** `sub`: whose tokens are asked for; `false`: nobody is named, as Google wants it. Default: the issuer. */
  subject?: string | false | undefined
  /** `aud`: `issuer`, the server's, the default; `token_endpoint`, its address; or what else the server wants. */
  audience?: 'issuer' | 'token_endpoint' | (string & {}) | undefined
  /** Where the scope is asked for: as a `parameter` (RFC 7521 section 4.1), the default, or as a `claim` and only there. */
  scope?: 'parameter' | 'claim' | undefined
  /** More claims, plain data. They never replace the others. */
  claims?: Record<string, unknown> | undefined
  /** Seconds until `exp`. Default: 60. */
  lifetime?: number | undefined
}

/** What `jwtBearer` takes besides what all sources do. */
export interface JwtBearerOptions extends SourceOptions {
  /**
   * Asked for at every token request. What a function of one's own gives has to speak for one and the same subject:
   * `sessionKey` tells several apart.
   */
  assertion: BearerAssertion
}

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
/** Seconds that clocks may differ by before that is why an assertion was refused. */
const TOLERANCE = 10

/**
 * An assertion for `jwtBearer()`, signed anew for every request (RFC 7523 section 3) by a CryptoKey, a JWK, PKCS#8 in PEM,
 * somebody who signs, or a function that is asked for one of these. Throws an `OAuthError` for a lifetime that is none; a
 * key that cannot sign rejects the request with one.
 */
export function jwtAssertion(
  key: AssertionKey | (() => AssertionKey | Promise<AssertionKey>),
  options: JwtAssertionOptions = {},
): BearerAssertion {
  const { issuer, subject, audience = 'issuer', claims, lifetime = 60 } = options
  if (!(lifetime > 0 && Number.isFinite(lifetime))) {
    throw new OAuthError('invalid-options', 'lifetime cannot be used', { fix: 'Set lifetime in seconds.' })
  }
  const assertion = ({ server, clientId, parameters, ahead = 0 }: AssertionRequest) => {
    const scope = options.scope === 'claim' ? parameters.get('scope') : null
    if (scope !== null) parameters.delete('scope')
    const iss = issuer ?? clientId
    const aud = new Map([
      ['issuer', server.issuer],
      ['token_endpoint', server.token_endpoint],
    ])
    const speaker = { server, client: { client_id: clientId, [clockSkew]: ahead }, ...options }
    return signedAssertion(key, speaker, (payload) => {
      const own = {
        iss,
        sub: subject === false ? undefined : (subject ?? iss),
        aud: aud.get(audience) ?? audience,
        exp: Number(payload.iat) + lifetime,
        iat: payload.iat,
        jti: payload.jti,
        nbf: undefined, // a clock that is a second ahead would make it one of the future
      }
      Object.assign(payload, claims, own, scope === null ? {} : { scope })
    })
  }
  return Object.assign(assertion, { principal: JSON.stringify([issuer, subject, audience, claims]) })
}

/**
 * Tokens for an assertion (RFC 7523 section 2.1): of a service account, or of a subject that the server trusts the
 * assertion's issuer with. Without `clientSecret` and `clientAuthentication` the assertion alone says who asks (RFC 7521
 * section 4.1). Throws an `OAuthError` for options that cannot work.
 */
export function jwtBearer(options: JwtBearerOptions): TokenManager {
  const { assertion, sessionKey, clientSecret } = options
  const { clientAuthentication = clientSecret === undefined ? unnamed : undefined } = options
  if (typeof assertion !== 'function') {
    throw new OAuthError('invalid-options', 'assertion is no function', { fix: 'Set assertion: jwtAssertion(key).' })
  }
  const assertions = new PresentedGrants(
    isInvalidGrant,
    'Check issuer, subject, audience and key of the assertion, and the clock.',
  )
  const clock = clockOf(options.fetch)
  const grant: Grant = (client, request) => {
    const { clientId } = client
    let parameters = new URLSearchParams()
    const given = async (ahead = clock.ahead) => {
      parameters = tokenParameters(request)
      const wanted = { server: await client.metadata(), clientId, parameters, ahead }
      return asked(await assertion(wanted), 'assertion')
    }
    const send = (jwt: string) => {
      parameters.set('assertion', jwt)
      return client.tokenRequest(GRANT_TYPE, parameters)
    }
    return assertions.present(
      request,
      () => given(),
      async (jwt) => {
        try {
          return await send(jwt)
        } catch (error) {
          // R10: this clock may be wrong, and the refusal has told by how much.
          const { told } = clock
          if (!(error instanceof AuthorizationServerError) || Math.abs(told - clock.ahead) <= TOLERANCE) throw error
          const other = await given(told)
          if (other === jwt) throw error
          const issued = await send(other)
          clock.ahead = told
          return issued
        }
      },
    )
  }
  const { fetch } = clock
  return new TokenManager(grant, confidential(withOutbox({ ...options, clientAuthentication, fetch })), {
    name: 'jwt_bearer',
    principal: () => sha256(JSON.stringify([sessionKey, assertion.principal])),
    oneSession: false,
    asksAgain: true,
  })
}

/** `send`, and by how many seconds the server's clock differs: `ahead` is believed, `told` is what its last answer said. */
function clockOf(send: typeof fetch | undefined): { ahead: number; told: number; fetch: typeof fetch } {
  const clock = {
    ahead: 0,
    told: 0,
    async fetch(...request: Parameters<typeof fetch>) {
      const response = await (send ?? fetch)(...request)
      const isFresh = request[1]?.method === 'POST' && response.headers.has('date') // not from a cache
      if (isFresh) clock.told = skewIn(response.headers, undefined)
      return response
    },
  }
  return clock
}

/** Whoever shows an assertion needs no name besides; what else is asked comes from the client. */
const unnamed: ClientAuthentication = (server, client, body, headers) => {
  if (body.get('grant_type') !== GRANT_TYPE) return none()(server, client, body, headers)
}
