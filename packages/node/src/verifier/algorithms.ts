/** What tokens and proofs may be signed with: with a private key, and never with a secret (RFC 8725 section 3.1). */
export const ALGORITHMS: string[] = 'ES256 ES384 ES512 PS256 PS384 PS512 RS256 RS384 RS512 Ed25519 EdDSA'.split(' ')
