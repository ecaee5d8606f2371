import { OAuthError, secureUrl } from '@keyturn/core'

/** What an API tells of itself; every other member of the registry may be given, too (RFC 9728 section 2). */
export interface ProtectedResourceMetadata {
  readonly resource: string
  readonly authorization_servers?: readonly string[]
  readonly scopes_supported?: readonly string[]
  readonly bearer_methods_supported: readonly string[]
  readonly dpop_bound_access_tokens_required?: true
  readonly [member: string]: unknown
}

/** Of which API the metadata is. */
export interface ProtectedResourceOptions {
  /** The API's URL, its resource identifier; https without a fragment, http for loopback hosts. */
  resource: string
  /** The issuers whose tokens it takes. */
  issuer: string | readonly string[]
  /** The scopes that it knows, separated by spaces. Default: not told. */
  scope?: string | undefined
  /** `required`: it takes only tokens that are bound to a key. Default: not told. */
  dpop?: 'required' | undefined
  /** More members, such as `resource_name` or `resource_documentation`. */
  metadata?: Readonly<Record<string, unknown>> | undefined
}

/** Where an API's metadata is to be published, and what it says. */
export interface PublishedMetadata {
  /** For the option `resourceMetadata` of a verifier. */
  readonly url: string
  /** What its path is, for a router. */
  readonly path: string
  /** To be answered as JSON. */
  readonly document: ProtectedResourceMetadata
}

/** The metadata of an API (RFC 9728 sections 2 and 3.1). Throws an `OAuthError` where `resource` cannot be one. */
export function protectedResourceMetadata(options: ProtectedResourceOptions): PublishedMetadata {
  const { resource, issuer, scope, dpop, metadata } = options
  const { origin, pathname, search } = secureUrl(resource, 'resource')
  const issuers = [issuer].flat()
  if (issuers.length === 0) throw new OAuthError('invalid-options', 'No issuer is given', { fix: 'Set issuer.' })
  // The well-known part goes between host and path; a path that is only a slash goes away (section 3.1).
  const path = `/.well-known/oauth-protected-resource${pathname === '/' ? '' : pathname}${search}`
  const document = {
    ...metadata,
    resource,
    authorization_servers: issuers,
    ...(scope !== undefined && { scopes_supported: scope.split(' ').filter(Boolean) }),
    bearer_methods_supported: ['header'],
    ...(dpop && { dpop_bound_access_tokens_required: true as const }),
  }
  return { url: origin + path, path, document }
}
