import { type DeviceCodeFlow, type DevicePrompt, deviceCode, type SourceOptions } from '@keyturn/core'
import { vi } from 'vitest'

const ISSUER = 'https://login.example'
const tokens = { access_token: 'access-token', token_type: 'Bearer', expires_in: 300, refresh_token: 'refresh-token' }

/** What one token request is answered with: an error code, a whole answer, or a failure to answer. */
type Poll = 'pending' | 'confirmed' | (string & {}) | (() => Response)

/** An authorization server with the device grant (RFC 8628), answering as told, and when it was asked. */
export class DeviceServer {
  /** Laid over the device authorization response; undefined leaves a member out. */
  authorization: Record<string, unknown> | Response = {}
  /** Answers to token requests, the first one first; the last one stays. */
  polls: Poll[] = ['confirmed']
  metadata: Record<string, unknown> = {}
  /** Seconds between the start, or the request before, and each token request. */
  readonly waits: number[] = []
  /** Bodies, by path. */
  readonly bodies: [path: string, body: Record<string, string>][] = []
  #last = Date.now()

  readonly fetch: typeof fetch = async (input, init) => {
    const request = new Request(input, init)
    const path = new URL(request.url).pathname
    if (path.startsWith('/.well-known')) {
      return Response.json({
        issuer: ISSUER,
        token_endpoint: `${ISSUER}/token`,
        revocation_endpoint: `${ISSUER}/revoke`,
        device_authorization_endpoint: `${ISSUER}/device`,
        ...this.metadata,
      })
    }
    const body = Object.fromEntries(new URLSearchParams(await request.text()))
    this.bodies.push([path, body])
    if (path === '/revoke') return new Response()
    if (path === '/device') {
      this.#last = Date.now()
      const { authorization } = this
      if (authorization instanceof Response) return authorization
      const device = { device_code: 'device-code', user_code: 'WDJB-MJHT', verification_uri: `${ISSUER}/go` }
      return Response.json({ ...device, expires_in: 600, ...authorization })
    }
    this.waits.push((Date.now() - this.#last) / 1000)
    this.#last = Date.now()
    const poll = this.polls.length > 1 ? this.polls.shift() : this.polls[0]
    if (typeof poll === 'function') return poll()
    if (body.device_code !== 'device-code') return Response.json({ error: 'invalid_grant' }, { status: 400 })
    if (poll === 'confirmed') return Response.json(tokens)
    return Response.json({ error: poll === 'pending' ? 'authorization_pending' : poll }, { status: 400 })
  }
}

export interface DeviceWorld {
  server: DeviceServer
  prompts: DevicePrompt[]
  warnings: string[]
  flow: DeviceCodeFlow
  /** Signs in while time passes as fast as it may. */
  login(signal?: AbortSignal): Promise<void>
}

/** A device, and its authorization server, by a clock that only `login()` moves. */
export function startDevice(options: Partial<SourceOptions> = {}): DeviceWorld {
  if (!vi.isFakeTimers()) vi.useFakeTimers({ now: Date.UTC(2030, 0) })
  const server = new DeviceServer()
  const prompts: DevicePrompt[] = []
  const warnings: string[] = []
  const flow = deviceCode({
    issuer: ISSUER,
    clientId: 'tv',
    fetch: server.fetch,
    onWarning: (message) => warnings.push(message),
    ...options,
  })
  const login = async (signal?: AbortSignal) => {
    let isOver = false
    const ended = flow.login({ onPrompt: (prompt) => void prompts.push(prompt), signal }).finally(() => {
      isOver = true
    })
    ended.catch(() => {})
    while (!isOver) await vi.advanceTimersByTimeAsync(500)
    return ended
  }
  return { server, prompts, warnings, flow, login }
}

/** What a promise rejects with. */
export function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => Promise.reject(new Error('It did not reject')),
    (error: unknown) => error,
  )
}
