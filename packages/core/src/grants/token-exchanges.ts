import { Client } from '../client.ts'
import { confidential } from '../client-authentication.ts'
import { OAuthError } from '../errors.ts'
import { assertUsable } from '../source-options.ts'
import type { TokenManager } from '../token-manager.ts'
import { assertExchangeable, type ExchangedTokens, type ExchangeOptions, tokenExchange } from './token-exchange.ts'

/** Milliseconds after which a source that nobody has asked for is let go. */
const IDLE = 600_000
/** How many sources are kept at most, each some 10 kB; of more the one that was asked for longest ago is let go. */
const MOST = 5000
/** How many warnings are remembered, so that each is given once. */
const MOST_WARNINGS = 1000

/** What a server that acts for many people needs to know. Not with `dpop`: every key would need a client of its own. */
export type TokenExchangesOptions = Omit<ExchangeOptions, 'client' | 'dpop'>

/** A source of tokens for each of many subjects. */
export interface TokenExchanges {
  /**
   * The source of whose token this is, the same one for the same token. Nobody else's tokens come from it. Throws an
   * `OAuthError` where it is no token.
   */
  of(subject: string | ExchangedTokens): TokenManager
  /** Stops timers, and forgets all sources. */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Token exchange for a server that acts for many people (RFC 8693): each token that comes in has a source of its own, kept
 * in memory for ten idle minutes. They share the client: its metadata, and what was refused of its secret. Verify a token
 * before you exchange it; a `store` should let records expire. Throws an `OAuthError` for options that cannot work.
 */
export function tokenExchanges(options: TokenExchangesOptions): TokenExchanges {
  assertExchangeable(options, Object(options).dpop ? 'dpop' : undefined)
  assertUsable(options)
  const client = new Client(confidential(options))
  const warned = new Set<string>()
  const say = options.onWarning ?? ((message) => console.warn(`keyturn: ${message}`))
  const onWarning = (message: string) => {
    if (warned.has(message) || warned.size >= MOST_WARNINGS) return
    warned.add(message)
    say(message)
  }
  const shared: ExchangeOptions = { ...options, client, onWarning }
  /** The one that was asked for longest ago first. */
  const kept = new Map<string, { source: TokenManager; askedAt: number }>()
  const letGo = async (key: string, source: TokenManager) => {
    kept.delete(key)
    await source[Symbol.asyncDispose]()
  }

  return {
    of(subject) {
      const given: Partial<ExchangedTokens> = typeof subject === 'string' ? { subjectToken: subject } : Object(subject)
      const { subjectToken, subjectTokenType, actorToken, actorTokenType } = given
      if (!isToken(subjectToken)) throw noToken('subjectToken')
      if (actorToken !== undefined && !isToken(actorToken)) throw noToken('actorToken')
      const key = JSON.stringify([subjectToken, subjectTokenType, actorToken, actorTokenType])
      const own = { subjectTokenType, actorToken, actorTokenType }
      const source = kept.get(key)?.source ?? tokenExchange({ ...shared, ...whatIsSet(own), subjectToken })
      const now = performance.now()
      kept.delete(key)
      kept.set(key, { source, askedAt: now })
      for (const [oldest, { source, askedAt }] of kept) {
        if (kept.size <= MOST && now - askedAt < IDLE) break
        letGo(oldest, source).catch(({ message }) => onWarning(`A source is not disposed of: ${message}`))
      }
      return source
    },

    async [Symbol.asyncDispose]() {
      await Promise.all([...kept].map(([key, { source }]) => letGo(key, source)))
    },
  }
}

function isToken(token: unknown): token is string {
  return typeof token === 'string' && token !== ''
}

function noToken(name: string): OAuthError {
  return new OAuthError('invalid-options', `${name} is no token`, { fix: `Give ${name} as a string.` })
}

/** The rest is as the options say. */
function whatIsSet(options: Omit<ExchangedTokens, 'subjectToken'>): Omit<ExchangedTokens, 'subjectToken'> {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined))
}
