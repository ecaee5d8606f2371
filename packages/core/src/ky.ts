import ky, { type KyInstance, type Options } from 'ky'
import { authenticatedFetch } from './authenticated-fetch.ts'
import type { AuthenticatedFetchOptions } from './token-fetch.ts'
import type { TokenSource } from './token-source.ts'

/** What `authenticatedKy` takes: options of ky, and those of `authenticatedFetch`. */
export interface AuthenticatedKyOptions extends Omit<Options, 'fetch'>, AuthenticatedFetchOptions {}

/**
 * A ky instance over `authenticatedFetch`: token and proof are fresh at each of its attempts. With `stepUp` its `timeout`
 * is off unless it is given: ky would count how long a person takes, and most take longer than its 10 s.
 */
export function authenticatedKy(source: TokenSource, options: AuthenticatedKyOptions): KyInstance {
  const { apis, fetch, stepUp, ...others } = options
  return ky.create({
    ...(stepUp && { timeout: false }),
    ...others,
    fetch: authenticatedFetch(source, { apis, fetch, stepUp }),
  })
}
