/** A URL to be fetched, and whether it is one of the API's own. */
export interface Candidate {
  url: string
  isLegitimate: boolean
}

/** The same numbers every time (mulberry32). */
function numbers(seed: number) {
  let state = seed
  return (below: number) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

const HOSTS = [
  ...['evil.localhost', 'api.localhost.evil.localhost', 'xapi.localhost', 'api.localhost.', 'localhost', '127.0.0.1'],
  ...[
    'аpi.localhost',
    'api。localhost.evil。localhost',
    'API.LOCALHOST.EVIL.LOCALHOST',
    'xn--pi-7kc.localhost',
    'ap1.localhost',
  ],
  ...['[::1]', '127.1', '0x7f.1', '2130706433', 'api.localhost%2eevil.localhost', 'x.api.localhost', 'api-localhost'],
  ...['user@api.localhost', 'user:pass@api.localhost', ':@api.localhost', 'api.localhost@evil.localhost'],
  ...['evil.localhost#@api.localhost', 'evil.localhost?@api.localhost', 'evil.localhost\\@api.localhost'],
]

const OTHER = [
  'data:text/plain,PATH',
  'blob:http://api.localhost:{port}/PATH',
  'file:///v1/PATH',
  'about:blank',
  'ftp://api.localhost:{port}/v1/PATH',
]

/** What leads out of /v1, or may lead out of it for a server. */
const OUTSIDE = [
  ...[
    '/?PATH',
    '/v2/PATH',
    '/v1x/PATH',
    '/v10?PATH',
    '/V1/PATH',
    '/v%31/PATH',
    '//v1/PATH',
    '/v1/../PATH',
    '/v1/%2e%2e/PATH',
  ],
  ...[
    '/v1/.%2e/PATH',
    '/v1/..%2fPATH',
    '/v1/..%5cPATH',
    '/v1\\..\\PATH',
    '/v1/a/..%2f..%2fPATH',
    '/v1/..;/PATH',
    '/v1%2fPATH',
  ],
  ...['/v1/%252e%252e/PATH', '/v1/..%252fPATH', '/v1;x/PATH', '/./v2/../v3/PATH', '/v1/a%2f%2e%2e%2f..%2fPATH'],
]

const INSIDE = [
  ...[
    '/v1/PATH',
    '/v1/a/../PATH',
    '/v1/./PATH',
    '/v2/../v1/PATH',
    '/v1//PATH',
    '/v1/PATH?q=/../&x=http://evil.localhost/',
  ],
  ...['/v1/PATH#/../..', '/v1/..PATH', '/v1/PATH..', '/v1/a%2FPATH', '/v1/größe/PATH', '/v1/user@evil.localhost/PATH'],
  ...['\\v1\\PATH', '/v1/http://evil.localhost/PATH', '/v1/a;b=c/PATH', '/v1/100%25/PATH', '/v1/x/%2e%2e/PATH'],
]

/** How the API's own address can be written. */
const STARTS = [
  'http://api.localhost:{port}',
  'HTTP://API.localhost:{port}',
  'http:\\\\api.localhost:{port}',
  ' http://api.localhost:{port}',
  'http://api。localhost:{port}',
  'h\nttp://api.local\thost:{port}',
]

/**
 * `count` different URLs for an API at `http://api.localhost:<port>/v1/`: of other hosts, ports, schemes and paths, of
 * redirects there, and its own in every spelling.
 */
export function candidates(count: number, [api, other]: readonly [number, number]): Candidate[] {
  const below = numbers(7)
  const pick = (list: readonly string[]) => list[below(list.length)] ?? ''
  const port = (text: string) => text.replaceAll('{port}', `${api}`)
  return Array.from({ length: count }, (_, index) => {
    const path = (text: string) => text.replaceAll('PATH', `n${index}`)
    const foreign = () => {
      const kind = below(10)
      if (kind === 0) return port(path(pick(OTHER)))
      if (kind === 1)
        return `${pick(['http:', 'https:', ''])}//api.localhost:${pick([`${other}`, '80', '443'])}${path(pick(INSIDE))}`
      if (kind < 4) return `${port(pick(STARTS))}${path(pick(OUTSIDE))}`
      const start = pick(['http://', 'http:\\\\', 'HTTP://', 'http:', 'http:////', ' http://'])
      return `${start}${pick(HOSTS)}:${pick([`${api}`, `${other}`])}${path(pick(INSIDE))}`
    }
    const own = () => `${port(pick(STARTS))}${path(pick(INSIDE))}`
    const kind = below(4)
    if (kind === 0) return { url: own(), isLegitimate: true }
    if (kind === 1) return { url: foreign(), isLegitimate: false }
    const to = encodeURIComponent(foreign())
    return {
      url: `http://api.localhost:${api}/v1/n${index}/to/${pick(['301', '302', '303', '307', '308'])}?to=${to}`,
      isLegitimate: true,
    }
  })
}

/** Whether a server may take a path for one that is below /v1. */
export function isBelow(path: string): boolean {
  let decoded = path.split('?')[0] ?? ''
  for (let time = 0; time < 3; time++)
    decoded = decoded.replace(/%(25|2e|2f|5c|3b)/gi, (text) => decodeURIComponent(text))
  const stack: string[] = []
  for (const segment of decoded.split(/[/\\]/).slice(1)) {
    const [name] = segment.split(';')
    if (name === '..') stack.pop()
    else if (name !== '.') stack.push(segment)
  }
  return stack[0] === 'v1'
}
