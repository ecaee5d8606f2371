import type { TokenRequest } from './grant.ts'

/** The parameters of a token request for what is wanted (RFC 6749 section 3.3, RFC 8707 section 2.2). */
export function tokenParameters({ scope, resource, parameters }: TokenRequest): URLSearchParams {
  const result = new URLSearchParams(parameters)
  if (scope !== undefined) result.set('scope', scope)
  if (resource !== undefined) result.delete('resource')
  for (const one of [resource ?? []].flat()) result.append('resource', one)
  return result
}

/** What makes tokens differ, as one string: scope set, resource, extra parameters. */
export function tokenKeyOf({ scope, resource, parameters }: TokenRequest): string {
  return JSON.stringify([
    scope?.split(' ').filter(Boolean).sort() ?? [],
    [resource ?? []].flat().sort(),
    Object.entries(parameters ?? {}).sort(),
  ])
}
