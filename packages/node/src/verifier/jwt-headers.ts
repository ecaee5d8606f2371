import { decodeProtectedHeader } from 'jose'

/** How many headers are remembered; the tokens of one server have a few. */
const MOST_HEADERS = 100

/** Tells JWTs from other tokens, as far as it can be seen (RFC 7515 section 3.1); each header is read once. */
export class JwtHeaders {
  readonly #known = new Map<string, boolean>()

  areOf(token: string): boolean {
    const end = token.indexOf('.')
    if (end < 0 || !token.includes('.', end + 1)) return false
    const header = token.slice(0, end)
    const known = this.#known.get(header)
    if (known !== undefined) return known
    const isOne = isHeader(header)
    if (this.#known.size >= MOST_HEADERS) this.#known.clear()
    this.#known.set(header, isOne)
    return isOne
  }
}

function isHeader(encoded: string): boolean {
  try {
    return typeof decodeProtectedHeader(`${encoded}..`).alg === 'string'
  } catch {
    return false // which is the answer
  }
}
