// A server in this process that rotates strictly and remembers no more than it must, so that its own memory stays flat.

const FAULTS = [
  () => new Response('busy', { status: 503 }),
  () => new Response('slow down', { status: 429, headers: { 'retry-after': '3' } }),
  () => new Response('<html>', { headers: { 'content-type': 'text/html' } }),
  () => Promise.reject(new TypeError('fetch failed')),
  (signal) =>
    new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason), { once: true })),
]

export const ISSUER = 'https://as.example'
export const metadata = { issuer: ISSUER, token_endpoint: `${ISSUER}/token`, revocation_endpoint: `${ISSUER}/revoke` }

export function rotatingServer({ lifetime, faulty }) {
  const current = new Set()
  const seen = { requests: 0, faults: 0, refused: 0 }
  let serial = 0
  const newRefreshToken = () => {
    const token = `refresh-token-${++serial}`
    current.add(token)
    return token
  }
  const answer = async (input, init) => {
    const request = new Request(input, init)
    const body = new URLSearchParams(await request.text())
    if (request.url.endsWith('/revoke')) {
      current.delete(body.get('token'))
      return new Response()
    }
    seen.requests++
    if (faulty()) return FAULTS[seen.faults++ % FAULTS.length](init?.signal)
    const refreshToken = body.get('refresh_token')
    if (refreshToken !== null && !current.delete(refreshToken)) {
      seen.refused++
      return Response.json({ error: 'invalid_grant' }, { status: 400 })
    }
    const access_token = `access-token-${++serial}`
    const more = refreshToken === null ? {} : { refresh_token: newRefreshToken() }
    return Response.json({ access_token, token_type: 'bearer', expires_in: lifetime, ...more })
  }
  return { seen, newRefreshToken, fetch: answer }
}
