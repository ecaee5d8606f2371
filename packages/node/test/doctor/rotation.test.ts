import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { diagnosed, serve } from './broken-server.ts'

interface Rules {
  /** Whether a spent refresh token is taken once more. */
  grace?: boolean
  /** Whether a spent one that is not taken ends the session. */
  endsReuse?: boolean
  /** What the revocation endpoint answers. */
  status?: number
  /** Whether it does what it is told. */
  revokes?: boolean
  /** Which token request, counted from 1, gets no answer that is any good. */
  outOfOrder?: number
}

/** One session, which begins with `first`; tokens are revoked one by one. */
async function rotatingServer({ grace, endsReuse, status = 200, revokes = true, outOfOrder }: Rules) {
  const live = new Set(['first'])
  const spent = new Set<string>()
  const asked: { path: string; token: string | null; client: string | null }[] = []
  let count = 0
  const issuer = await serve(async (request, response) => {
    const path = request.url ?? ''
    if (path.startsWith('/.well-known')) {
      const token_endpoint = `${issuer}/token`
      return response.end(JSON.stringify({ issuer, token_endpoint, revocation_endpoint: `${issuer}/revoke` }))
    }
    const body = new URLSearchParams(await text(request))
    const token = body.get('token') ?? body.get('refresh_token')
    if (token === null) return response.writeHead(400).end('{"error":"invalid_grant"}')
    asked.push({ path, token, client: body.get('client_id') })
    if (path === '/revoke') {
      if (status === 200 && revokes) live.delete(token)
      return response.writeHead(status).end('{}')
    }
    count += 1
    if (count === outOfOrder) return response.writeHead(503).end()
    if (live.delete(token) || (grace && spent.delete(token))) {
      spent.add(token)
      live.add(`next-${count}`)
      const answer = { access_token: 'access', token_type: 'Bearer', refresh_token: `next-${count}` }
      return response.end(JSON.stringify(answer))
    }
    if (endsReuse && spent.has(token)) live.clear()
    response.writeHead(400).end('{"error":"invalid_grant"}')
  })
  const { findings } = await diagnosed({ issuer, clientId: 'me', refreshToken: 'first' })
  const found = findings.filter(({ id }) => /^(rotation|revocation)/.test(id)).map(({ id, level }) => `${level} ${id}`)
  return { live, asked, found, issuer }
}

test.each<[string, Rules, string[]]>([
  ['strict', { endsReuse: true }, ['ok rotation', 'warning rotation-grace', 'ok rotation-reuse']],
  ['that has grace', { grace: true }, ['ok rotation', 'ok rotation-grace']],
  ['that does not mind reuse', {}, ['ok rotation', 'warning rotation-grace', 'warning rotation-reuse']],
])('nothing of the session is left at a server %s', async (_, rules, expected) => {
  const { found, live } = await rotatingServer(rules)
  expect(found).toEqual([...expected, 'ok revocation'])
  expect([...live]).toEqual([])
})

test('a session is ended also where the server is out of order in between', async () => {
  const { found, live } = await rotatingServer({ outOfOrder: 2 })
  expect(found).toEqual(['ok rotation', 'error rotation', 'ok revocation'])
  expect([...live]).toEqual([])
})

test.each<[string, Rules]>([
  ['refuses to revoke', { status: 400 }],
  ['is not where it says', { status: 404 }],
  ['says that it revoked, and did not', { revokes: false }],
])('a revocation endpoint that %s is an error', async (_, rules) => {
  const { found } = await rotatingServer(rules)
  expect(found).toContain('error revocation')
})

test('a refresh token is not sent in the name of another client', async () => {
  const { issuer, asked } = await rotatingServer({})
  asked.length = 0
  const { wrong } = await diagnosed({ issuer, refreshToken: 'first' })
  expect(wrong).toContain('unknown rotation')
  expect(asked).toEqual([])
})
