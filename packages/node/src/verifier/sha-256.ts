import { base64url } from 'jose'

/** The SHA-256 of a text's UTF-8, or of bytes, as JOSE writes it: base64url without padding. */
export async function sha256(data: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const bytes = typeof data === 'string' ? new TextEncoder().encode(data) : data
  return base64url.encode(new Uint8Array(await crypto.subtle.digest('SHA-256', bytes)))
}
