import ky, { type KyInstance, type Options } from 'ky'
import { authenticatedFetch } from './authenticated-fetch.ts'
import type { AuthenticatedFetchOptions } from './token-fetch.ts'
import type { TokenSource } from './token-source.ts'

export interface AuthenticatedKyOptions extends Omit<Options, 'fetch'>, AuthenticatedFetchOptions {}

/** A ky instance over `authenticatedFetch`: token and proof are fresh at each of its attempts. */
export function authenticatedKy(source: TokenSource, options: AuthenticatedKyOptions): KyInstance {
  const { apis, fetch, stepUp, ...others } = options
  return ky.create({ ...others, fetch: authenticatedFetch(source, { apis, fetch, stepUp }) })
}
