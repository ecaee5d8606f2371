import { type Interaction, interactionPolicy, type KoaContextWithOIDC } from 'oidc-provider'

/** The `acr` of who proved a password and a code (OpenID Connect Core section 2); a password alone has none. */
export const TWO_FACTORS = 'urn:example:two-factors'

/** Whether a sign-in is to have two factors (OpenID Connect Core section 3.1.2.1). */
export function wantsTwoFactors({ acr_values: values }: Interaction['params']): boolean {
  return typeof values === 'string' && values.split(' ').includes(TWO_FACTORS)
}

/** When oidc-provider asks the person: as it does by itself, and where two factors are wanted that were not proved. */
export function signInPolicy(): interactionPolicy.DefaultPolicy {
  const policy = interactionPolicy.base()
  const check = new interactionPolicy.Check(
    'two_factors',
    'the person has to prove two factors',
    'unmet_authentication_requirements', // RFC 9470 section 5
    ({ oidc }) => wantsTwoFactors(oidc.params ?? {}) && oidc.acr !== TWO_FACTORS,
  )
  policy.get('login')?.checks.add(check)
  return policy
}

/** What an access token says of the sign-in that it goes back to (RFC 9068 section 2.2.1), for which RFC 9470 asks. */
export function signInClaims({ oidc }: KoaContextWithOIDC): {
  acr?: string | undefined
  auth_time?: number | undefined
} {
  const { AuthorizationCode, DeviceCode, RefreshToken } = oidc.entities
  const { acr, authTime } = AuthorizationCode ?? DeviceCode ?? RefreshToken ?? {}
  return { acr, auth_time: authTime }
}
