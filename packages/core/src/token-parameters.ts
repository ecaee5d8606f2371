import type { TokenRequest } from './grant.ts'

/**
 * The parameters of a token request for what is wanted (RFC 6749 section 3.3, RFC 8707 section 2.2). `own` are the
 * protocol's, and take the place of extra ones.
 */
export function tokenParameters(
  { scope, resource, parameters }: TokenRequest,
  own: Record<string, string | undefined> = {},
): URLSearchParams {
  const result = new URLSearchParams(parameters)
  // What an app has left undefined is not there; as text it would be `undefined`. Nor is what is empty (section 3.2).
  for (const name in parameters) if (parameters[name] === undefined) result.delete(name)
  if (resource !== undefined) result.delete('resource')
  for (const one of [resource ?? []].flat()) result.append('resource', one)
  for (const [name, value] of Object.entries({ scope, ...own })) if (value) result.set(name, value)
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
