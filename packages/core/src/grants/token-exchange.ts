import { processGenericTokenEndpointResponse, calculatePKCECodeChallenge as sha256 } from 'oauth4webapi'
import type { TokenRequestChecks } from '../client.ts'
import { confidential } from '../client-authentication.ts'
import { OAuthError } from '../errors.ts'
import type { Grant } from '../grant.ts'
import { withOutbox } from '../revocation-outbox.ts'
import type { SourceOptions } from '../source-options.ts'
import { TokenManager } from '../token-manager.ts'
import { tokenParameters } from '../token-parameters.ts'
import { asked, PresentedGrants } from './presented-grants.ts'

/** What kind of token it is (RFC 8693 section 3): one of its names, or any other URI. */
export type TokenType = 'access_token' | 'refresh_token' | 'id_token' | 'saml1' | 'saml2' | 'jwt' | (string & {})

/** Whose token is exchanged, and who acts for them (RFC 8693 section 2.1). */
export interface ExchangedTokens {
  subjectToken: string
  /** Default: `access_token`. */
  subjectTokenType?: TokenType | undefined
  /** Default: nobody acts for the subject but the client. */
  actorToken?: string | undefined
  /** Default: `access_token`. */
  actorTokenType?: TokenType | undefined
}

/** What all token exchanges may be told. */
export interface ExchangeOptions extends SourceOptions {
  /** Default: `access_token`. */
  subjectTokenType?: TokenType | undefined
  /** Who acts for the subject; a function is asked at every exchange. Default: nobody but the client. */
  actorToken?: string | (() => string | Promise<string>) | undefined
  /** Default: `access_token`. */
  actorTokenType?: TokenType | undefined
  /** Default: the server's choice. */
  requestedTokenType?: TokenType | undefined
  /** Who is to take the token, by the name that the server has for them; `parameters.audience` replaces it. Default: nobody is named. */
  audience?: string | string[] | undefined
  /**
   * `token_exchange`, the default, is RFC 8693; `on_behalf_of` is what Microsoft Entra ID has in its place: a JWT bearer
   * grant with `requested_token_use`, without types, audience and actor.
   */
  flow?: 'token_exchange' | 'on_behalf_of' | undefined
}

/** What `tokenExchange` takes besides what all exchanges do. */
export interface TokenExchangeOptions extends ExchangeOptions {
  /**
   * A function is asked at every exchange, and has to give tokens of one and the same subject: `sessionKey` tells several
   * apart. For many people: `tokenExchanges()`.
   */
  subjectToken: string | (() => string | Promise<string>)
}

const TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:'
const EXCHANGE = 'urn:ietf:params:oauth:grant-type:token-exchange'
const JWT_BEARER = 'urn:ietf:params:oauth:grant-type:jwt-bearer'
/** What RFC 8693 section 2.2.2 says of a bad token, and what servers say instead. */
const REFUSALS = ['invalid_request', 'invalid_grant', 'invalid_token']

/**
 * Tokens for a token of one subject: of the program's own workload, or of one person (RFC 8693). A subject token that the
 * server refuses is not presented again for a minute, another one at once. Throws an `OAuthError` for options that cannot
 * work.
 */
export function tokenExchange(options: TokenExchangeOptions): TokenManager {
  const { subjectToken, actorToken, sessionKey, flow = 'token_exchange' } = options
  const { subjectTokenType, actorTokenType, requestedTokenType, audience } = options
  assertExchangeable(options, ['string', 'function'].includes(typeof subjectToken) ? undefined : 'subjectToken')
  const tokens = new PresentedGrants(
    ({ error }) => REFUSALS.includes(error),
    'Check that the client may exchange tokens, and that the server takes this subject token for this audience.',
  )
  const found = async () => {
    const actor = actorToken === undefined ? undefined : await asked(actorToken, 'actorToken')
    return JSON.stringify([await asked(subjectToken, 'subjectToken'), actor])
  }
  const process = checked(requestedTokenType)
  const grant: Grant = (client, request) =>
    tokens.present(request, found, (presented) => {
      const [subject, actor]: [string, string | null] = JSON.parse(presented)
      if (flow === 'on_behalf_of') {
        const parameters = tokenParameters(request, { assertion: subject, requested_token_use: 'on_behalf_of' })
        return client.tokenRequest(JWT_BEARER, parameters)
      }
      const parameters = tokenParameters(request, {
        subject_token: subject,
        subject_token_type: uriOf(subjectTokenType),
        actor_token: actor ?? undefined,
        actor_token_type: actor === null ? undefined : uriOf(actorTokenType),
        requested_token_type: requestedTokenType && uriOf(requestedTokenType),
      })
      if (!parameters.has('audience')) {
        for (const one of [audience ?? []].flat()) parameters.append('audience', one)
      }
      return client.tokenRequest(EXCHANGE, parameters, { process })
    })
  // What a function gives is not known yet.
  const [subject, actor] = [subjectToken, actorToken].map((token) => (typeof token === 'function' ? [] : token))
  const about = [flow, subject, subjectTokenType, actor, actorTokenType, requestedTokenType, audience]
  return new TokenManager(grant, confidential(withOutbox(options)), {
    name: 'token_exchange',
    principal: () => sha256(JSON.stringify([sessionKey, ...about])),
    oneSession: false,
    asksAgain: true,
  })
}

/** Throws an `OAuthError` where an option cannot be used: the one that is named, or one that on-behalf-of has no place for. */
export function assertExchangeable(options: ExchangeOptions, wrong?: string): void {
  const {
    flow = 'token_exchange',
    subjectTokenType,
    actorToken,
    actorTokenType,
    requestedTokenType,
    audience,
  } = options
  const entraHasNone = Object.entries({ subjectTokenType, actorToken, actorTokenType, requestedTokenType, audience })
  const name =
    wrong ??
    (flow === 'on_behalf_of' ? entraHasNone.find(([, value]) => value !== undefined)?.[0] : undefined) ??
    (['token_exchange', 'on_behalf_of'].includes(flow) ? undefined : 'flow')
  if (name) throw new OAuthError('invalid-options', `${name} cannot be used`, { fix: `Check ${name}.` })
}

function uriOf(type: TokenType = 'access_token'): string {
  return type.includes(':') ? type : TOKEN_TYPE + type
}

/** The answer has to be of the type that was asked for, if it says (RFC 8693 section 2.2.1); a JWT may be any of them. */
function checked(requested: TokenType | undefined): NonNullable<TokenRequestChecks['process']> {
  const types = [uriOf(requested), uriOf('jwt')]
  return async (...answer) => {
    const result = await processGenericTokenEndpointResponse(...answer)
    const { issued_token_type: issued } = result
    if (issued !== undefined && !types.includes(`${issued}`)) throw new Error('issued_token_type is another')
    return result
  }
}
