/** The header (0) or payload (1) of a JWT, not verified; throws where it is none (RFC 7515 section 7.1). */
export function jwtPart(jwt: unknown, part: 0 | 1): Record<string, unknown> {
  const encoded = String(String(jwt).split('.')[part])
  return Object(JSON.parse(atob(encoded.replace(/-/g, '+').replace(/_/g, '/'))))
}
