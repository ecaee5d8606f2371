import { OAuthError } from '@keyturn/core'
import { base64url } from 'jose'

/** Nonces that a server wants in proofs (RFC 9449 section 9); made by `dpopNonces()`. */
export interface DPoPNonces {
  /** Seconds that each is good for. */
  readonly lifetime: number
  /** A new one, or the one of this second. */
  issue(): Promise<string>
  /** Epoch seconds at which it was issued; undefined where it was not, or is too old. */
  issuedAt(nonce: unknown): Promise<number | undefined>
}

/** How nonces are made. */
export interface DPoPNoncesOptions {
  /** 32 bytes or more, the same for all processes that answer for one API. Default: one of this process, until it ends. */
  key?: Uint8Array | undefined
  /** Seconds that a nonce is good for. Default: 300. */
  lifetime?: number | undefined
}

/** The least length of a key, in bytes. */
const KEY_LENGTH = 32
/** Bytes of the time in front, and of the authentication code behind it. */
const TIME = 6
const CODE = 16

/**
 * Proofs have to hold a nonce of this API (RFC 9449 section 9), so that none can be made for later. Nonces are kept
 * nowhere: each is the time of its issue with an HMAC, and whoever has the key can tell. Throws an `OAuthError` where the
 * options are wrong.
 */
export function dpopNonces({ key, lifetime = 300 }: DPoPNoncesOptions = {}): DPoPNonces {
  const isKey = key === undefined || (key instanceof Uint8Array && key.length >= KEY_LENGTH)
  if (!isKey) throw new OAuthError('invalid-options', 'The key of the nonces cannot be used', { fix: 'Give 32 bytes.' })
  if (!(lifetime > 0 && lifetime < Number.POSITIVE_INFINITY)) {
    throw new OAuthError('invalid-options', 'lifetime cannot be used', { fix: 'Give seconds, such as 300.' })
  }
  const own = key && Uint8Array.from(key)
  let imported: ReturnType<typeof crypto.subtle.importKey> | undefined
  const hmacKey = () => {
    imported ??= crypto.subtle.importKey(
      'raw',
      own ?? crypto.getRandomValues(new Uint8Array(KEY_LENGTH)),
      { name: 'HMAC', hash: 'SHA-256' },
      false,
      ['sign', 'verify'],
    )
    return imported
  }
  const signed = async (time: Uint8Array<ArrayBuffer>) =>
    new Uint8Array(await crypto.subtle.sign('HMAC', await hmacKey(), labelled(time))).subarray(0, CODE)

  return {
    lifetime,

    async issue() {
      const time = bytesOf(Math.floor(Date.now() / 1000))
      const nonce = new Uint8Array(TIME + CODE)
      nonce.set(time)
      nonce.set(await signed(time), TIME)
      return base64url.encode(nonce)
    },

    async issuedAt(nonce) {
      // 22 bytes, of which the last character holds two bits that mean nothing: one spelling is enough.
      if (typeof nonce !== 'string' || !/^[\w-]{29}[AQgw]$/.test(nonce)) return undefined
      const bytes = new Uint8Array(base64url.decode(nonce))
      const time = bytes.slice(0, TIME)
      const at = time.reduce((sum, byte) => sum * 256 + byte, 0)
      // Absolute: clocks of processes that share a key differ, too.
      if (Math.abs(Date.now() / 1000 - at) >= lifetime) return undefined
      const expected = await signed(time)
      // A difference that is found late must not take longer.
      const difference = expected.reduce((sum, byte, i) => sum | (byte ^ (bytes[TIME + i] ?? 0)), 0)
      return difference === 0 ? at : undefined
    },
  }
}

/** The key may serve for other things, too. */
function labelled(time: Uint8Array): Uint8Array<ArrayBuffer> {
  const label = new TextEncoder().encode('keyturn DPoP nonce 1\0')
  const bytes = new Uint8Array(label.length + time.length)
  bytes.set(label)
  bytes.set(time, label.length)
  return bytes
}

/** A whole number, the greatest byte first. */
function bytesOf(number: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length: TIME }, (_, i) => Math.floor(number / 256 ** (TIME - 1 - i)) % 256)
}
