import { boundStore } from './bound-store.ts'
import { dpopProof } from './dpop-proof.ts'
import { ProofKeys } from './proof-keys.ts'
import type { DPoP } from './proof-of-possession.ts'
import { AUTHORIZATION_SERVER, ProofServers } from './proof-servers.ts'
import { clockSkew } from './server-answers.ts'

/**
 * Binds the tokens of a source to a key pair (RFC 9449): a token that is stolen is of no use to the thief. Proofs are
 * signed with ES256. The key is kept with the session as far as the store can keep keys, else in memory.
 */
export function dpop(): DPoP {
  return (source) => {
    const { kind, tokenFor, warnings } = source
    const { store } = source.options
    const keys = new ProofKeys(source)
    const servers = new ProofServers()
    if (store && !store.keys) {
      warnings.warn(
        'The token store can keep no key: with dpop() the session ends with this process. Encrypt the store.',
      )
    }
    return {
      // Tokens are of no use to others who share the store but not the key; a person would like to know why.
      store: store && (store.keys || !kind.asksAgain) ? boundStore(store, keys, kind.asksAgain) : undefined,

      async thumbprint(isHere) {
        const { stored } = await keys.lookedFor()
        const outlivesPage = store?.keys && store.keys !== 'memory'
        return keys.isKept && (isHere || outlivesPage) ? stored.thumbprint : undefined
      },

      async prove(url, headers, bound) {
        const key = await (bound ? keys.of(bound) : keys.next())
        headers.set('dpop', await dpopProof(key, { method: 'POST', url, ...servers.wishes(AUTHORIZATION_SERVER) }))
        return key.stored
      },

      learn({ response: { headers }, json }) {
        const { error, id_token } = json ?? {}
        const tellsTime = headers.has('date') || typeof id_token === 'string'
        const nonce = headers.get('dpop-nonce')
        const skew = tellsTime ? clockSkew(headers, id_token) : undefined
        const wantsNonce = error === 'use_dpop_nonce'
        const isRefusal = wantsNonce || error === 'invalid_dpop_proof'
        const { wasWrong } = servers.learn(AUTHORIZATION_SERVER, nonce, skew, isRefusal)
        if (wantsNonce && nonce === null) {
          warnings.warn('The authorization server hides its DPoP-Nonce: name that in Access-Control-Expose-Headers.')
        }
        return isRefusal && (wantsNonce ? nonce !== null : wasWrong)
      },

      signing: {
        async authorize({ method, url: address, ...wanted }) {
          const [{ stored }, { base }] = await tokenFor(wanted)
          const { accessToken, tokenType } = stored
          if (tokenType === 'Bearer') return { accessToken, headers: {} }
          const url = new URL(address)
          const proven = { method, url, accessToken, ...servers.wishes(url.origin) }
          const proof = await dpopProof(await (base.key ? keys.of(base.key) : keys.next()), proven)
          return { accessToken, headers: { authorization: `DPoP ${accessToken}`, dpop: proof } }
        },

        observe({ url, response: { status, headers } }) {
          const isRefusal = status === 401
          const nonce = headers.get('dpop-nonce')
          // Other answers may come from a cache, and tell an old time.
          const skew = isRefusal && headers.has('date') ? clockSkew(headers, undefined) : undefined
          const { isNew, wasWrong } = servers.learn(new URL(url).origin, nonce, skew, isRefusal)
          const challenge = headers.get('www-authenticate')
          if (!isRefusal) return false
          if (challenge === null) return isNew || wasWrong // CORS hides what it says
          return (
            (nonce !== null && saysError(challenge, 'use_dpop_nonce')) ||
            (wasWrong && saysError(challenge, 'invalid_dpop_proof'))
          )
        },
      },
    }
  }
}

/** Whether a challenge says this error (RFC 9449 section 7.1); read in one go, however long and hostile it is. */
function saysError(challenge: string, error: string): boolean {
  return new RegExp(`\\berror="?${error}\\b`, 'i').test(challenge)
}
