import type { TokenManager } from '@keyturn/core'

/**
 * For the page at the registered `frontchannel_logout_uri`, which the authorization server loads in an iframe: ends the
 * session that `iss` and `sid` in its address name, here and in every tab, and goes nowhere. Resolves with whether it
 * did; an address without both ends nothing, for anybody could load it (OpenID Connect Front-Channel Logout 1.0 section 2).
 */
export async function handleFrontChannelLogout(auth: TokenManager, url: string = location.href): Promise<boolean> {
  const { searchParams } = new URL(url)
  const [iss, sid] = ['iss', 'sid'].map((name) => searchParams.getAll(name).join())
  await known(auth)
  const { session } = auth
  const claims = session.status === 'signedIn' ? session.claims : undefined
  if (!sid || claims?.sid !== sid || claims.iss !== iss) return false
  await auth.revoke({ origin: 'server' })
  return true
}

/** The session has been read, or cannot be. */
function known(auth: TokenManager): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (auth.session.status === 'unknown') return
      unsubscribe()
      resolve()
    }
    const unsubscribe = auth.subscribe(look)
    look()
  })
}
