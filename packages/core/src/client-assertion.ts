import { type Client, ClientSecretJwt, clockSkew, modifyAssertion, PrivateKeyJwt } from 'oauth4webapi'
import { base64url } from './base64url.ts'
import type { ClientAuthentication, TimedAuthentication } from './client-authentication.ts'
import type { AuthorizationServer } from './discovery.ts'
import { OAuthError } from './errors.ts'
import { type EndpointAnswer, clockSkew as skewIn } from './server-answers.ts'
import { type SigningAlgorithm, type SigningKeyMaterial, signingKey } from './signing-key.ts'

/** What a JWT of a client may say otherwise. */
export interface ClientAssertionOptions {
  /** Whom it is for: the issuer, the default (RFC 7523 as revised), or the token endpoint, which older servers want. */
  audience?: 'issuer' | 'token_endpoint' | undefined
}

/** What `privateKeyJwt` takes besides the key (RFC 7523 section 2.2). */
export interface PrivateKeyJwtOptions extends ClientAssertionOptions {
  /** Which of the client's keys it is, where the key itself does not say. */
  kid?: string | undefined
  /** Of a key that could sign by several. Default: what the key itself says, RS256 for RSA. */
  algorithm?: SigningAlgorithm | undefined
  /** More of the JWS header, such as `x5t#S256`, by which Microsoft Entra ID finds a certificate. Never replaces the rest. */
  header?: Record<string, string> | undefined
}

/** Signs where the private key cannot be had: in a key management service or a hardware module. */
export interface AssertionSigner {
  /** The JWS algorithm (RFC 7518 section 3.1). */
  readonly alg: string
  readonly kid?: string | undefined
  /** Gives the signature in the form of a JWS (RFC 7515 section 5.1). */
  sign(input: Uint8Array<ArrayBuffer>): Promise<Uint8Array | ArrayBuffer>
}

/** What signs the JWTs of a client: a private key, or somebody who has it. */
export type AssertionKey = SigningKeyMaterial | AssertionSigner

/**
 * A JWT that the client's private key signs (RFC 7523 section 2.2, OpenID Connect Core section 9). The key is a
 * CryptoKey, with or without its `kid`, a JWK, PKCS#8 in PEM, or somebody who signs; a function is asked for it at every
 * request, so that keys can change. A key that cannot sign rejects the request with an `OAuthError`.
 */
export function privateKeyJwt(
  key: AssertionKey | (() => AssertionKey | Promise<AssertionKey>),
  options: PrivateKeyJwtOptions = {},
): ClientAuthentication {
  return byServersClock(async (server, client, body) => {
    const jwt = await signedAssertion(key, { server, client, ...options }, audienceOf(server, options))
    setAssertion(body, client.client_id, jwt)
  })
}

/** A JWT that the client secret signs, which so never travels (OpenID Connect Core section 9). */
export function clientSecretJwt(options: ClientAssertionOptions = {}): ClientAuthentication {
  return byServersClock((server, client, ...request) => {
    if (!client.client_secret) {
      throw new OAuthError('invalid-options', 'There is no secret to sign with', { fix: 'Set clientSecret.' })
    }
    const change = audienceOf(server, options)
    const assertion = ClientSecretJwt(String(client.client_secret), {
      [modifyAssertion]: (_header, payload) => change(payload),
    })
    return assertion(server, client, ...request)
  })
}

/** Seconds that clocks may differ by before that is why an assertion was refused. */
const TOLERANCE = 10

/** How a server says no to an assertion (RFC 7521 section 4.2.1), or to whom it does not know by one. */
const REFUSALS: unknown[] = ['invalid_client', 'unauthorized_client', 'invalid_request']

/**
 * R10: where this clock is wrong, a refusal tells by how much; the request is sent once more by that, and if it is taken
 * then, all that follow are.
 */
function byServersClock(authenticate: ClientAuthentication): TimedAuthentication {
  let ahead = 0
  const tried = new WeakMap<URLSearchParams, number>()
  const timed: ClientAuthentication = (server, client, body, headers) => {
    client[clockSkew] = tried.get(body) ?? ahead
    return authenticate(server, client, body, headers)
  }
  const isLate = (body: URLSearchParams, { json, response }: EndpointAnswer): boolean => {
    if (!REFUSALS.includes(json?.error)) {
      ahead = tried.get(body) ?? ahead
      return false
    }
    const told = skewIn(response.headers, undefined)
    const isLate = !tried.has(body) && Math.abs(told - ahead) > TOLERANCE
    tried.set(body, isLate ? told : ahead)
    return isLate
  }
  return Object.assign(timed, { isLate })
}

/**
 * A JWT that somebody else has issued for this workload, such as Kubernetes, GitHub Actions or a cloud (RFC 7521 section
 * 4.2); a function is asked for it at every request.
 */
export function clientAssertion(assertion: string | (() => string | Promise<string>)): ClientAuthentication {
  return async (_server, client, body) => {
    const jwt = typeof assertion === 'function' ? await assertion() : assertion
    if (typeof jwt !== 'string' || jwt.trim() === '') {
      throw new OAuthError('invalid-options', 'There is no client assertion', {
        fix: 'Have clientAssertion() give a JWT.',
      })
    }
    setAssertion(body, client.client_id, jwt.trim())
  }
}

function setAssertion(body: URLSearchParams, clientId: string, jwt: string): void {
  body.set('client_id', clientId)
  body.set('client_assertion_type', 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer')
  body.set('client_assertion', jwt)
}

function audienceOf(server: AuthorizationServer, { audience }: ClientAssertionOptions) {
  return (payload: Record<string, unknown>) => {
    if (audience === 'token_endpoint') payload.aud = server.token_endpoint
  }
}

/** Who says it to whom, and which of the client's keys signs. */
interface AssertionSpeaker extends Omit<PrivateKeyJwtOptions, 'audience'> {
  readonly server: AuthorizationServer
  readonly client: Client
}

/**
 * A JWT that says who the client is (RFC 7523 section 3), for 60 seconds and no second use; `change` has the last word on
 * what it says. Rejects with an `OAuthError` for a key that cannot sign.
 */
export async function signedAssertion(
  key: AssertionKey | (() => AssertionKey | Promise<AssertionKey>),
  speaker: AssertionSpeaker,
  change: (payload: Record<string, unknown>) => void,
): Promise<string> {
  const given = typeof key === 'function' ? await key() : key
  if (isSigner(given)) return signedBy(given, speaker, change)
  const { server, client } = speaker
  const pair = await signingKey(given, speaker)
  const signed = new URLSearchParams()
  const sign = PrivateKeyJwt(pair, {
    [modifyAssertion](header, payload) {
      Object.assign(header, { ...speaker.header, ...header })
      change(payload)
    },
  })
  await sign(server, client, signed, new Headers())
  return String(signed.get('client_assertion'))
}

function isSigner(key: AssertionKey): key is AssertionSigner {
  return typeof Object(key).sign === 'function'
}

/** What oauth4webapi makes of a key, for a key that only somebody else has. */
async function signedBy(
  signer: AssertionSigner,
  { server, client, kid, header: more }: AssertionSpeaker,
  change: (payload: Record<string, unknown>) => void,
): Promise<string> {
  const { client_id, [clockSkew]: ahead = 0 } = client
  const now = Math.floor(Date.now() / 1000) + ahead
  const who = { iss: client_id, sub: client_id, aud: server.issuer, jti: crypto.randomUUID() }
  const payload = { ...who, iat: now, nbf: now, exp: now + 60 }
  change(payload)
  const header = { ...more, alg: signer.alg, kid: signer.kid ?? kid }
  const input = [header, payload].map((part) => base64url(new TextEncoder().encode(JSON.stringify(part)))).join('.')
  return `${input}.${base64url(new Uint8Array(await signer.sign(new TextEncoder().encode(input))))}`
}
