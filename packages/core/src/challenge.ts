/** What an API says is missing (RFC 6750 section 3, RFC 9470 section 3). */
export interface Challenge {
  /**
   * What is missing: another token, more scope (RFC 6750 section 3.1), or a person who has proved more, or more lately, who
   * they are (RFC 9470 section 3).
   */
  readonly error: 'invalid_token' | 'insufficient_scope' | 'insufficient_user_authentication'
  /** In lower case, such as `bearer`; undefined where a server leaves it out. */
  readonly scheme: string | undefined
  readonly errorDescription?: string | undefined
  readonly realm?: string | undefined
  /** What the resource needs, all of it (RFC 6750 section 3). */
  readonly scope?: string | undefined
  /** By preference (RFC 9470 section 3). */
  readonly acrValues?: string | undefined
  /** Seconds since the person last proved who they are (RFC 9470 section 3). */
  readonly maxAge?: number | undefined
  /**
   * Where the metadata of the protected resource is said to be (RFC 9728 section 5.1). A claim of whoever answered: what is
   * there counts only where its `resource` covers the URL that was called (section 3.3).
   */
  readonly resourceMetadata?: string | undefined
}

/** One challenge of a `WWW-Authenticate` header, as it was sent (RFC 9110 section 11.6.1). */
interface SentChallenge {
  readonly scheme: string | undefined
  readonly parameters: ReadonlyMap<string, string>
}

/** RFC 9110 section 5.6.2. */
const TOKEN = /[!#$%&'*+.^_`|~\w-]+/y
const TOKEN68 = /[\w.~+/-]+=*(?=[\s,]*(,|$))/y
const QUOTED = /"(?:\\.?|[^"\\])*"?/y
const VALUE = /[^\s,"]*/y
const SPACE = /\s*/y
const SEPARATORS = /[\s,]*/y

/** No server is known that sends more; what comes after is not looked at. */
const LONGEST = 65_536

/**
 * The challenge of an API's answer that says what is missing (RFC 6750 section 3.1, RFC 9470 section 3); undefined for
 * every other answer, also where CORS hides the header (`Access-Control-Expose-Headers: WWW-Authenticate`).
 */
export function challengeOf({ status, headers }: Response): Challenge | undefined {
  const header = status === 401 || status === 403 ? headers.get('www-authenticate') : undefined
  for (const { scheme, parameters } of challengesIn((header ?? '').slice(0, LONGEST))) {
    const error = parameters.get('error')
    if (scheme !== undefined && scheme !== 'bearer' && scheme !== 'dpop') continue
    if (error !== 'invalid_token' && error !== 'insufficient_scope' && error !== 'insufficient_user_authentication')
      continue
    const maxAge = parameters.get('max_age') ?? ''
    return {
      error,
      scheme,
      errorDescription: parameters.get('error_description'),
      realm: parameters.get('realm'),
      scope: parameters.get('scope'),
      acrValues: parameters.get('acr_values'),
      maxAge: /^\d{1,15}$/.test(maxAge) ? Number(maxAge) : undefined,
      resourceMetadata: parameters.get('resource_metadata'),
    }
  }
  return undefined
}

/** Every challenge of a header's value, or of several that were joined by commas; each character is looked at once or twice. */
function challengesIn(header: string): SentChallenge[] {
  let at = 0
  const read = (pattern: RegExp) => {
    pattern.lastIndex = at
    const [found = ''] = pattern.exec(header) ?? []
    at += found.length
    return found
  }
  const challenges: { scheme: string | undefined; parameters: Map<string, string> }[] = []
  let bare: string | undefined
  while (at < header.length) {
    const between = read(SEPARATORS)
    const name = read(TOKEN).toLowerCase()
    if (!name) {
      at++ // no token starts here: not worth understanding
      continue
    }
    const end = at
    read(SPACE)
    if (header[at] === '=' && header[at + 1] !== '=') {
      at++
      read(SPACE)
      const quoted = read(QUOTED)
      const value = quoted ? unquoted(quoted) : read(VALUE)
      if (!challenges.length) challenges.push({ scheme: undefined, parameters: new Map() })
      const parameters = challenges.at(-1)?.parameters
      // Said twice it is the first that counts: whoever adds something adds it at the end.
      const isNew = parameters && !parameters.has(name)
      if (isNew) parameters.set(name, value)
      bare = isNew && !quoted ? name : undefined
      continue
    }
    if (bare !== undefined && !between.includes(',')) {
      // A list of scopes without its quotes.
      const parameters = challenges.at(-1)?.parameters
      parameters?.set(bare, `${parameters.get(bare)} ${header.slice(end - name.length, end)}`)
      continue
    }
    bare = undefined
    challenges.push({ scheme: name, parameters: new Map() })
    if (at > end) read(TOKEN68) // says nothing here
  }
  return challenges
}

function unquoted(text: string): string {
  return text.slice(1, text.length > 1 && text.endsWith('"') ? -1 : undefined).replace(/\\(.)/g, '$1')
}
