import { processDeviceAuthorizationResponse, processDeviceCodeResponse } from 'oauth4webapi'
import type { Client } from '../client.ts'
import { confidential } from '../client-authentication.ts'
import { unlessAborted } from '../deadline.ts'
import { AuthorizationServerError, LoginRequiredError, OAuthError, TokenUnavailableError } from '../errors.ts'
import { ours } from '../renewal-errors.ts'
import { withOutbox } from '../revocation-outbox.ts'
import { secureUrl } from '../secure-url.ts'
import { printable, refusal } from '../server-answers.ts'
import type { SourceOptions } from '../source-options.ts'
import type { StandardSchemaV1 } from '../standard-schema.ts'
import { TokenManager } from '../token-manager.ts'
import { tokenParameters } from '../token-parameters.ts'
import { lifetimeOf } from '../token-response.ts'
import type { Claims, Issued } from '../token-set.ts'

/** What the person has to be shown (RFC 8628 section 3.3). Nothing of it can steer a terminal. */
export interface DevicePrompt {
  readonly userCode: string
  /** Where the code is typed, on any device with a browser. */
  readonly verificationUri: string
  /** The same with the code in it, for a QR code or a link; not every server gives it. */
  readonly verificationUriComplete?: string | undefined
  /** Epoch milliseconds of this machine's clock. */
  readonly expiresAt: number
}

/** How the person is told, and how the wait for them ends. */
export interface DeviceLogin {
  /**
   * Shows the person where to go. Is not waited for; a rejection ends the login. `over` aborts when nobody is to act any
   * more, however the login ended.
   */
  onPrompt: (prompt: DevicePrompt, over: AbortSignal) => void | Promise<void>
  /** Ends the login and rejects with the signal's own reason. Default: none. */
  signal?: AbortSignal | undefined
}

interface DeviceAuthorization {
  readonly deviceCode: string
  /** Milliseconds between two requests. */
  readonly interval: number
  /** When the code expires, by the clock that nobody sets: a device may learn the time while it waits. */
  readonly until: number
  readonly prompt: DevicePrompt
}

const GRANT_TYPE = 'urn:ietf:params:oauth:grant-type:device_code'
/** Seconds between two requests where the server says nothing, and what `slow_down` adds (RFC 8628 sections 3.2, 3.5). */
const INTERVAL = 5
/** A failure that passes; anything else ends the login. */
const PASSING = ['network', 'timeout', 'server-error', 'throttled']
/** Milliseconds: the most that failures slow the requests down to, and what a timer can count. */
const LONGEST_BACK_OFF = 30_000
const LONGEST_TIMER = 2 ** 31 - 1

/** Device authorization (RFC 8628): a person signs in on another device than the one that gets the tokens. */
export class DeviceCodeFlow<C extends Claims = Claims> extends TokenManager<C> {
  readonly #options: SourceOptions

  constructor(options: SourceOptions) {
    const grant = async () => {
      throw new LoginRequiredError('login-required', 'Nobody is signed in', { fix: 'Call login().' })
    }
    super(grant, options, { name: 'device_code', oneSession: true, asksAgain: false })
    this.#options = options
  }

  /**
   * Resolves when the person has signed in elsewhere; takes the place of whatever session there was. Rejects with an
   * `OAuthError`: `authorization-refused` where the person or the server says no, `timeout` where the code expires
   * before, `exchange-failed` where it is good no more (RFC 8628 section 3.5).
   */
  async login({ onPrompt, signal }: DeviceLogin): Promise<void> {
    signal?.throwIfAborted()
    const over = new AbortController()
    const abort = () => over.abort(signal?.reason)
    signal?.addEventListener('abort', abort)
    const login = async () => {
      const authorization = await authorizedDevice(this.client, this.#options)
      over.signal.throwIfAborted()
      const prompted = async () => onPrompt(authorization.prompt, over.signal)
      prompted().catch((error) => over.abort(ours(error)))
      const tokenSet = await this.#polled(authorization, over.signal)
      await this.begin({ ...tokenSet, scope: tokenSet.scope ?? this.#options.scope })
    }
    try {
      await unlessAborted(login(), over.signal)
    } finally {
      signal?.removeEventListener('abort', abort)
      over.abort()
    }
  }

  async #polled(authorization: DeviceAuthorization, signal: AbortSignal): Promise<Issued> {
    const { deviceCode, until } = authorization
    const { client } = this
    let { interval } = authorization
    let wait = interval
    for (;;) {
      await pause(Math.min(wait, until - performance.now()), signal)
      if (performance.now() >= until) {
        throw new OAuthError('timeout', 'Nobody confirmed the code before it expired', {
          fix: 'Offer the login again.',
        })
      }
      const request = new URLSearchParams({ device_code: deviceCode })
      try {
        const tokenSet = await client.tokenRequest(GRANT_TYPE, request, { process: processDeviceCodeResponse })
        if (signal.aborted) await this.#discard(tokenSet)
        signal.throwIfAborted()
        return tokenSet
      } catch (error) {
        if (error instanceof TokenUnavailableError && PASSING.includes(error.code)) {
          // Slower each time (RFC 8628 section 3.5), until it answers again.
          wait = Math.max(Math.min(wait * 2, Math.max(LONGEST_BACK_OFF, interval)), error.retryAt - Date.now())
          continue
        }
        const said = error instanceof AuthorizationServerError ? error.error : ''
        if (said === 'slow_down') interval += INTERVAL * 1000
        else if (said !== 'authorization_pending') throw final(error)
        wait = interval
      }
    }
  }

  /** The person confirmed when nobody waited any more. */
  async #discard({ refreshToken, accessToken }: Issued): Promise<void> {
    const [token, kind] = refreshToken
      ? ([refreshToken, 'refresh_token'] as const)
      : ([accessToken, 'access_token'] as const)
    await this.client
      .revoke(token, kind)
      .catch(({ message }) => this.warnings.warn(`A token was not revoked: ${message}`))
  }
}

/**
 * A person signs in on another device (RFC 8628), for programs without a browser of their own. Throws an `OAuthError`
 * for options that cannot work.
 */
export function deviceCode<C extends object>(
  options: SourceOptions & { claims: StandardSchemaV1<unknown, C> },
): DeviceCodeFlow<Claims & C>
export function deviceCode(options: SourceOptions): DeviceCodeFlow
export function deviceCode(options: SourceOptions): DeviceCodeFlow {
  return new DeviceCodeFlow(confidential(withOutbox(options)))
}

/** RFC 8628 sections 3.1 and 3.2. */
async function authorizedDevice(client: Client, options: SourceOptions): Promise<DeviceAuthorization> {
  const { scope, resource, parameters, allowInsecureRequests } = options
  const url = await client.requiredEndpoint('device_authorization_endpoint')
  const request = tokenParameters({ scope, resource, parameters })
  const [before, start] = [Date.now(), performance.now()]
  const { client: who, secrets, response, json } = await client.post(url, request)
  const { status } = response
  if (json?.error && typeof json.error === 'string') {
    throw refusal(json.error, json.error_description, status, secrets)
  }
  try {
    // Some servers write numbers as texts, and null where they have nothing; Google calls the address verification_url.
    const { expires_in, interval, verification_uri = json?.verification_url } = json ?? {}
    const verification_uri_complete = json?.verification_uri_complete || undefined
    const own = { expires_in: lifetimeOf(expires_in), interval: INTERVAL, verification_uri, verification_uri_complete }
    const members = { ...json, ...own }
    const answer = Response.json(members, { status: status || 502 })
    const device = await processDeviceAuthorizationResponse(await client.metadata(), who, answer)
    const shown = (address: string) => {
      secureUrl(address.replace(/#.*/s, ''), 'verification_uri', allowInsecureRequests) // pages like AWS's are found by their fragment
      return new URL(address).href
    }
    const { verification_uri_complete: complete } = device
    const seconds = Number(interval)
    return {
      deviceCode: device.device_code,
      interval: (seconds > 0 ? Math.max(seconds, 1) : INTERVAL) * 1000,
      until: start + device.expires_in * 1000,
      prompt: {
        userCode: printable(device.user_code),
        verificationUri: shown(device.verification_uri),
        verificationUriComplete: complete && shown(complete),
        expiresAt: before + device.expires_in * 1000,
      },
    }
  } catch (cause) {
    if (cause instanceof OAuthError) throw cause
    throw new OAuthError('invalid-response', `No device authorization came (status ${status})`, {
      cause,
      fix: 'Check what answers at device_authorization_endpoint.',
    })
  }
}

/** What ends a login for good, told by what it means for the person. */
function final(error: unknown): unknown {
  if (!(error instanceof AuthorizationServerError)) return error
  const fix = 'Offer the login again.'
  if (error.error === 'access_denied') return new AuthorizationServerError('authorization-refused', error, { fix })
  if (error.error === 'expired_token') return new AuthorizationServerError('timeout', error, { fix })
  if (error.error === 'invalid_grant') return new AuthorizationServerError('exchange-failed', error, { fix })
  return error
}

/** Resolves after `ms` milliseconds; rejects when `signal` aborts. Keeps the process alive: somebody waits for it. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const abort = () => reject(signal.reason)
  const timer = setTimeout(resolve, Math.min(Math.max(ms, 0), LONGEST_TIMER))
  signal.addEventListener('abort', abort)
  try {
    await promise
  } finally {
    clearTimeout(timer)
    signal.removeEventListener('abort', abort)
  }
}
