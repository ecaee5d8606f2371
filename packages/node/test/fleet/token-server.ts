import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'

/** One request to the token endpoint. */
export interface TokenRequest {
  /** Epoch milliseconds. */
  readonly at: number
  /** Which process sent it. */
  readonly worker: number
  readonly refreshToken: string | null
}

/**
 * An authorization server on the loopback interface that counts. Access tokens say whose they are and until when they are
 * good; a refresh token is good once, and presented again ends its session (RFC 9700 section 4.14.2).
 */
export async function startTokenServer({ lifetime }: { lifetime: number }) {
  const requests: TokenRequest[] = []
  const reused: string[] = []
  const current = new Map<string, string>()
  const held: (() => void)[] = []
  let holding = false
  let serial = 0

  const newRefreshToken = (user: string) => {
    const token = `refresh ${user} ${++serial}`
    current.set(user, token)
    return token
  }

  const answer = (response: ServerResponse, body: object, status = 200) => {
    response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store' })
    response.end(JSON.stringify(body))
  }

  const issue = (refreshToken: string | null): [body: object, status?: number] => {
    const [, user = 'machine'] = refreshToken?.split(' ') ?? []
    if (refreshToken !== null && current.get(user) !== refreshToken) {
      reused.push(refreshToken)
      current.delete(user)
      return [{ error: 'invalid_grant' }, 400]
    }
    const token = {
      access_token: `${user} ${Date.now() + lifetime * 1_000} ${++serial}`,
      token_type: 'Bearer',
      expires_in: lifetime,
    }
    return [refreshToken === null ? token : { ...token, refresh_token: newRefreshToken(user) }]
  }

  const server = createServer(async (request, response) => {
    if (request.url !== '/token') return answer(response, { issuer, token_endpoint: `${issuer}/token` })
    let text = ''
    for await (const chunk of request) text += chunk
    const refreshToken = new URLSearchParams(text).get('refresh_token')
    requests.push({ at: Date.now(), worker: Number(request.headers['x-worker']), refreshToken })
    if (holding) await new Promise<void>((resolve) => held.push(resolve))
    answer(response, ...issue(refreshToken))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  const issuer = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`

  return {
    issuer,
    requests,
    /** Refresh tokens that were presented when they were good no more. */
    reused,
    /** A session of a user that begins with this refresh token. */
    newRefreshToken,
    /** Answers nothing until `release`. */
    hold: () => {
      holding = true
    },
    release: () => {
      holding = false
      for (const go of held.splice(0)) go()
    },
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

export type TokenServer = Awaited<ReturnType<typeof startTokenServer>>
