import { OAuthError, StoreError } from '../errors.ts'

/** Where a person meets the authorization server: a browser's page, or what stands in for one. */
export interface UserAgent {
  readonly url: string
  navigate(url: string): void | Promise<void>
  /** Replaces what the address bar shows, without a navigation. */
  replaceUrl(url: string): void
  /** Calls `listener` when the page is shown again or the network has come back; returns the way to stop that. */
  watch?(listener: () => void): () => void
}

/** What the transaction store does; where it fails, no login can be begun or finished. */
export async function remembered<T>(call: () => T | Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (cause) {
    throw new StoreError('The login cannot be remembered until its answer comes', {
      cause,
      fix: 'Let the page use its session storage, or give transactions another place.',
    })
  }
}

export async function navigated(userAgent: UserAgent, { href }: URL): Promise<void> {
  try {
    await userAgent.navigate(href)
  } catch (cause) {
    throw new OAuthError('navigation-failed', 'The user agent could not be sent to the authorization server', { cause })
  }
}
