import type { DoctorOptions } from '@keyturn/node/doctor'
import { expect, test } from 'vitest'
import type { AuthorizationServerOptions } from '../../../../examples/playground/src/authorization-server.ts'
import { type BreakableServer, type Context, diagnosed, ORIGIN, PAGE, startServer } from './broken-server.ts'

const METADATA = '/.well-known/openid-configuration'
const WELL_KNOWN = [METADATA, '/.well-known/oauth-authorization-server']

/** Lays members over the metadata; `undefined` takes one out. */
const metadata = (members: Record<string, unknown>) => (server: BreakableServer) =>
  server.change(METADATA, (ctx) => {
    ctx.body = { ...Object(ctx.body), ...members }
  })

const location = (change: (url: URL) => void) => (server: BreakableServer) =>
  server.change('/auth', (ctx) => {
    const target = URL.parse(ctx.response.get('location'))
    if (!target) return
    change(target)
    ctx.response.set('location', target.href)
  })

const asked = (change: (query: URLSearchParams) => void) => (server: BreakableServer) =>
  server.change(
    '/auth',
    (ctx) => {
      const query = new URLSearchParams(ctx.querystring)
      change(query)
      ctx.querystring = `${query}`
    },
    'before',
  )

const without = (path: string, header: string) => (server: BreakableServer) =>
  server.change(path, (ctx: Context) => ctx.remove(header))

const codeFirst = (server: BreakableServer) =>
  server.change('/token', (ctx) => {
    if (ctx.method !== 'POST') return
    ctx.status = 400
    ctx.body = { error: 'invalid_grant' }
  })

const client = (clientId: string, clientSecret?: string) => ({ given: { clientId, clientSecret } })

interface Broken {
  title: string
  /** All that is found wrong. */
  wrong: string[]
  breaks?: (server: BreakableServer) => void
  options?: AuthorizationServerOptions
  /** What is given to the doctor besides, or instead of, what the page's developer gives. */
  given?: Partial<DoctorOptions>
  fix: RegExp
}

const table: Broken[] = [
  {
    title: 'no metadata',
    wrong: ['error metadata'],
    breaks: (server) => {
      for (const path of WELL_KNOWN) {
        server.change(path, (ctx) => {
          ctx.status = 404
        })
      }
    },
    fix: /^Check issuer/,
  },
  {
    title: 'a web page instead of metadata',
    wrong: ['error metadata'],
    breaks: (server) => {
      for (const path of WELL_KNOWN) {
        server.change(path, (ctx) => {
          ctx.body = '<!doctype html><title>Wi-Fi</title>'
        })
      }
    },
    fix: /^Check issuer/,
  },
  {
    title: 'metadata of another issuer',
    wrong: ['error issuer'],
    breaks: metadata({ issuer: 'https://other.example.com' }),
    fix: /exactly what the metadata says/,
  },
  {
    title: 'no token endpoint',
    wrong: ['error endpoints', 'error token-endpoint', 'error cors-token', 'unknown dpop'],
    breaks: metadata({ token_endpoint: undefined }),
    fix: /publish token_endpoint/,
  },
  {
    title: 'an endpoint without TLS',
    wrong: ['error endpoints'],
    breaks: metadata({ end_session_endpoint: 'http://login.example.com/out' }),
    fix: /Use https/,
  },
  {
    title: 'no keys',
    wrong: ['error keys'],
    breaks: (server) =>
      server.change('/jwks', (ctx) => {
        ctx.body = { keys: [] }
      }),
    fix: /public keys/,
  },
  {
    title: 'keys that verify no signature',
    wrong: ['error keys'],
    breaks: (server) =>
      server.change('/jwks', (ctx) => {
        ctx.body = { keys: [7, null, 'RSA', {}, { kty: 'RSA', n: 'n', e: 'AQAB', use: 'enc' }] }
      }),
    fix: /public keys/,
  },
  {
    title: 'keys at an address that is none',
    wrong: ['error endpoints', 'error keys'],
    breaks: metadata({ jwks_uri: 'keys' }),
    fix: /Use https/,
  },
  {
    title: 'a token endpoint that is null',
    wrong: ['error endpoints', 'error token-endpoint', 'error cors-token', 'unknown dpop'],
    breaks: metadata({ token_endpoint: null }),
    fix: /publish token_endpoint/,
  },
  {
    title: 'a private key among the public ones',
    wrong: ['error keys'],
    breaks: (server) =>
      server.change('/jwks', (ctx) => {
        ctx.body = { keys: [{ kty: 'EC', crv: 'P-256', x: 'x', y: 'y', d: 'not-to-be-shown' }] }
      }),
    fix: /^Take the key out of use/,
  },
  {
    title: 'no code flow',
    wrong: ['error code-flow'],
    breaks: metadata({ response_types_supported: ['id_token'] }),
    fix: /support code/,
  },
  {
    title: 'ID tokens that anybody can make',
    wrong: ['error id-token'],
    breaks: metadata({ id_token_signing_alg_values_supported: ['none', 'HS256'] }),
    fix: /asymmetric/,
  },
  {
    title: 'PKCE without a hash only',
    wrong: ['error pkce'],
    breaks: metadata({ code_challenge_methods_supported: ['plain'] }),
    fix: /S256/,
  },
  {
    title: 'PKCE that is not announced',
    wrong: ['warning pkce'],
    breaks: metadata({ code_challenge_methods_supported: undefined }),
    fix: /code_challenge_methods_supported/,
  },
  {
    title: 'PKCE that is not required',
    wrong: ['warning pkce-required'],
    breaks: asked((query) => {
      if (query.has('code_challenge')) return
      query.set('code_challenge', 'x'.repeat(43))
      query.set('code_challenge_method', 'S256')
    }),
    fix: /^Require PKCE/,
  },
  {
    title: 'PKCE that is taken without a hash, too',
    wrong: ['warning pkce-plain'],
    breaks: asked((query) => {
      if (query.has('code_challenge_method')) query.set('code_challenge_method', 'S256')
    }),
    fix: /S256 only/,
  },
  {
    title: 'a redirect URI that is not registered',
    wrong: ['error redirect-uri'],
    given: { redirectUri: `${ORIGIN}/call-back` },
    fix: /^Register http:\/\/127\.0\.0\.1:9\/call-back/,
  },
  {
    title: 'a redirect URI without TLS',
    wrong: ['error redirect-uri'],
    given: { redirectUri: 'http://app.example.com/callback' },
    fix: /https/,
  },
  {
    title: 'redirect URIs that only have to begin as registered',
    wrong: ['error redirect-uri-exact'],
    breaks: (server) => {
      const added = '/keyturn-doctor'
      let isElsewhere = false
      asked((query) => {
        const uri = query.get('redirect_uri') ?? ''
        isElsewhere = uri.endsWith(added)
        if (isElsewhere) query.set('redirect_uri', uri.slice(0, -added.length))
      })(server)
      location((url) => {
        if (isElsewhere) url.pathname += added
      })(server)
    },
    fix: /^Register whole redirect URIs/,
  },
  {
    title: 'a client that is not known',
    wrong: ['error client-id', 'error client-authentication', 'unknown dpop'],
    given: { clientId: 'nobody' },
    fix: /Check --client-id/,
  },
  {
    title: 'a limit on requests, which is no answer to any',
    wrong: ['unknown pkce-required', 'unknown pkce-plain', 'unknown redirect-uri-exact'],
    breaks: (server) => {
      let count = 0
      server.change('/auth', (ctx) => {
        count += 1
        if (count > 1) ctx.status = 429
      })
    },
    fix: /later/,
  },
  {
    title: 'an authorization endpoint that is out of order for a while',
    wrong: ['unknown pkce-required', 'unknown pkce-plain', 'unknown redirect-uri-exact'],
    breaks: (server) => {
      let count = 0
      location((url) => {
        count += 1
        if (count > 1) url.searchParams.set('error', 'temporarily_unavailable')
      })(server)
      server.change('/auth', (ctx) => {
        if (ctx.status >= 400) ctx.status = 503
      })
    },
    fix: /later/,
  },
  {
    title: 'an authorization endpoint that is out of order',
    wrong: ['error code-flow'],
    breaks: (server) =>
      server.change('/auth', (ctx) => {
        ctx.status = 503
      }),
    fix: /log of the server/,
  },
  {
    title: 'a pushed request of somebody with a wrong secret',
    wrong: ['unknown redirect-uri', 'error client-authentication', 'unknown cors-token', 'unknown dpop'],
    breaks: metadata({ require_pushed_authorization_requests: true }),
    given: { clientId: 'web', redirectUri: `${ORIGIN}/web`, clientSecret: 'not the secret of web' },
    fix: /^Mend client-authentication/,
  },
  {
    title: 'a pushed request with a scope that is refused',
    wrong: ['warning scope', 'error scope'],
    breaks: (server) => {
      metadata({ require_pushed_authorization_requests: true })(server)
      server.change('/request', (ctx) => {
        ctx.status = 400
        ctx.body = { error: 'invalid_scope', error_description: 'no orders for spa' }
      })
    },
    given: { scope: 'openid offline_access orders' },
    fix: /scopes that this client may have/,
  },
  {
    title: 'a pushed request with a redirect URI that is not registered',
    wrong: ['error redirect-uri'],
    breaks: metadata({ require_pushed_authorization_requests: true }),
    given: { redirectUri: `${ORIGIN}/call-back` },
    fix: /^Register http:\/\/127\.0\.0\.1:9\/call-back/,
  },
  {
    title: 'a client that is not known, told on a page that repeats what was asked',
    wrong: ['error client-id', 'error client-authentication', 'unknown dpop'],
    breaks: (server) =>
      server.change('/auth', (ctx) => {
        ctx.body = `<p>Unknown client.</p><a href="${ctx.href.replaceAll('&', '&amp;')}">Try again</a>`
      }),
    given: { clientId: 'nobody' },
    fix: /Check --client-id/,
  },
  {
    title: 'a scope that is refused',
    wrong: ['warning scope', 'error scope'],
    breaks: location((url) => {
      url.searchParams.set('error', 'invalid_scope')
    }),
    given: { scope: 'openid offline_access orders' },
    fix: /how the scope is written|scopes that this client may have/,
  },
  {
    title: 'no offline_access',
    wrong: ['warning offline-access'],
    breaks: metadata({ scopes_supported: ['openid'] }),
    fix: /Leave the scope out/,
  },
  {
    title: 'no refresh tokens',
    wrong: ['warning offline-access'],
    breaks: metadata({ grant_types_supported: ['authorization_code'] }),
    fix: /give refresh tokens/,
  },
  {
    title: 'a code for nobody',
    wrong: ['warning code-flow'],
    breaks: location((url) => {
      if (url.searchParams.get('error') !== 'login_required') return
      url.searchParams.delete('error')
      url.searchParams.set('code', 'not-to-be-shown')
    }),
    fix: /who is there/,
  },
  {
    title: 'a state that does not come back',
    wrong: ['error response-state'],
    breaks: location((url) => url.searchParams.delete('state')),
    fix: /return state/,
  },
  {
    title: 'responses without the issuer that was promised',
    wrong: ['error response-issuer'],
    breaks: location((url) => url.searchParams.delete('iss')),
    fix: /send iss/,
  },
  {
    title: 'responses of another issuer',
    wrong: ['error response-issuer'],
    breaks: location((url) => url.searchParams.set('iss', 'https://other.example.com')),
    fix: /send iss/,
  },
  {
    title: 'a wrong secret',
    wrong: ['unknown redirect-uri', 'error client-authentication', 'unknown cors-token', 'unknown dpop'],
    ...client('worker', 'not the secret of the worker'),
    fix: /^Check client and secret/,
  },
  {
    title: 'a secret that has to be in the body',
    wrong: ['unknown redirect-uri', 'error client-authentication', 'unknown cors-token', 'unknown dpop'],
    // oidc-provider takes it either way, and does not let this client ask for a code.
    breaks: (server) =>
      server.change('/token', (ctx) => {
        const isBasic = ctx.get('authorization').startsWith('Basic ')
        ctx.status = isBasic ? 401 : 400
        ctx.body = { error: isBasic ? 'invalid_client' : 'invalid_grant' }
      }),
    ...client('worker-post', 'worker-secret'),
    fix: /client_secret_post/,
  },
  {
    title: 'a secret that must not be encoded',
    wrong: ['unknown redirect-uri', 'error client-authentication', 'unknown cors-token', 'unknown dpop'],
    breaks: (server) =>
      server.change('/token', (ctx) => {
        const credentials = Buffer.from(ctx.get('authorization').slice(6), 'base64').toString()
        const isKnown = credentials === 'worker:a+b secret'
        ctx.status = isKnown ? 400 : 401
        ctx.body = { error: isKnown ? 'invalid_grant' : 'invalid_client' }
      }),
    ...client('worker', 'a+b secret'),
    fix: /encoding: 'none'/,
  },
  {
    title: 'a secret that has to sign',
    wrong: ['unknown redirect-uri', 'error client-authentication', 'unknown cors-token', 'unknown dpop'],
    // oidc-provider does not let this client ask for a code, and says so in words of its own.
    breaks: (server) =>
      server.change('/token', (ctx) => {
        if (Object(ctx.body).error === 'invalid_request') ctx.body = { error: 'unauthorized_client' }
      }),
    ...client('worker-secret-jwt', 'a secret that signs, and never travels'),
    fix: /clientSecretJwt\(\)/,
  },
  {
    title: 'a code that is looked at before the client',
    wrong: ['unknown client-authentication'],
    breaks: codeFirst,
    fix: /^Let the server look at who asks/,
  },
  {
    title: 'a code that is looked at before the secret',
    wrong: ['unknown redirect-uri', 'unknown client-authentication', 'unknown cors-token'],
    breaks: codeFirst,
    ...client('worker', 'not the secret of the worker'),
    fix: /^Let the server look at who asks/,
  },
  {
    title: 'tokens for whoever asks',
    wrong: ['error token-endpoint', 'unknown dpop'],
    breaks: (server) =>
      server.change('/token', (ctx) => {
        if (ctx.method !== 'POST') return
        ctx.status = 200
        ctx.body = { access_token: 'not-to-be-shown', token_type: 'Bearer', expires_in: 60 }
      }),
    fix: /^Stop the server/,
  },
  {
    title: 'a secret of a client that has none',
    wrong: ['error client-authentication', 'unknown dpop'],
    given: { clientSecret: 'something' },
    fix: /^Leave out clientSecret/,
  },
  {
    title: 'a secret that is missing',
    wrong: ['unknown redirect-uri', 'error client-authentication', 'unknown cors-token', 'unknown dpop'],
    ...client('worker'),
    fix: /^Give the secret/,
  },
  {
    title: 'a page that may not see the token endpoint',
    wrong: ['error cors-token'],
    given: { origin: 'https://app.example.com' },
    fix: /^Allow the origin https:\/\/app\.example\.com/,
  },
  {
    title: 'metadata that no page may read',
    wrong: ['error cors-metadata'],
    breaks: without(METADATA, 'access-control-allow-origin'),
    fix: /^Allow the origin/,
  },
  {
    title: 'a preflight that is refused',
    wrong: ['error cors-preflight'],
    breaks: (server) =>
      server.change('/token', (ctx) => {
        if (ctx.method === 'OPTIONS') ctx.remove('access-control-allow-headers')
      }),
    given: { dpop: true },
    fix: /^Answer OPTIONS/,
  },
  {
    title: 'a token endpoint that is out of order',
    wrong: ['error token-endpoint', 'unknown dpop'],
    breaks: (server) => server.fault({ status: 503 }),
    fix: /token_endpoint|token-endpoint/,
  },
  {
    title: 'a gateway that is asked too often, and knows nothing of pages',
    wrong: ['unknown cors-token', 'unknown cors-preflight'],
    breaks: (server) =>
      server.change('/token', (ctx) => {
        if (!ctx.get('origin')) return
        ctx.status = 429
        ctx.remove('access-control-allow-origin')
      }),
    fix: /later/,
  },
  {
    title: 'a web page at the token endpoint',
    wrong: ['error token-endpoint', 'unknown dpop'],
    breaks: (server) => server.fault({ html: true }),
    fix: /token_endpoint|token-endpoint/,
  },
  {
    title: 'a token endpoint that does not answer',
    wrong: ['error token-endpoint', 'error cors-token', 'unknown dpop'],
    breaks: (server) => server.fault({ hang: true }),
    given: { timeout: 1500 },
    fix: /./,
  },
  {
    title: 'a clock that is ten minutes ahead',
    wrong: ['error clock'],
    breaks: (server) => server.change(METADATA, (ctx) => ctx.set('date', new Date(Date.now() + 600_000).toUTCString())),
    fix: /NTP/,
  },
  {
    title: 'a clock that is half a minute behind',
    wrong: ['warning clock'],
    breaks: (server) => server.change(METADATA, (ctx) => ctx.set('date', new Date(Date.now() - 30_000).toUTCString())),
    fix: /NTP/,
  },
  {
    title: 'proofs with an algorithm that nobody has',
    wrong: ['error dpop'],
    breaks: metadata({ dpop_signing_alg_values_supported: ['ES512'] }),
    given: { dpop: true },
    fix: /ES256/,
  },
  {
    title: 'a nonce that is demanded and not given',
    wrong: ['error dpop-nonce'],
    options: { dpopNonce: true },
    breaks: without('/token', 'dpop-nonce'),
    fix: /DPoP-Nonce/,
  },
  {
    title: 'a nonce that pages cannot read',
    wrong: ['error cors-nonce'],
    options: { dpopNonce: true },
    breaks: without('/token', 'access-control-expose-headers'),
    fix: /Expose-Headers/,
  },
]

const whole: { title: string; options?: AuthorizationServerOptions; given?: Partial<DoctorOptions> }[] = [
  { title: 'a page' },
  { title: 'a page with proofs', options: { dpopNonce: true }, given: { dpop: true } },
  {
    title: 'an app with a secret',
    given: { clientId: 'web', redirectUri: `${ORIGIN}/web`, clientSecret: 'web-secret' },
  },
  { title: 'a program', given: { clientId: 'cli', redirectUri: 'http://127.0.0.1:4711/callback' } },
]

test.each(whole)('nothing is wrong with a server that is whole: $title', async ({ options, given }) => {
  const server = await startServer(options)
  const { wrong, findings } = await diagnosed({ issuer: server.issuer, ...PAGE, ...given })
  expect(wrong).toEqual([])
  expect(findings.length).toBeGreaterThan(18)
})

test.each(table)('$title: $wrong', async ({ wrong, breaks, options, given, fix }) => {
  const server = await startServer(options)
  breaks?.(server)
  const isMachine = wrong.includes('unknown redirect-uri')
  const found = await diagnosed({ issuer: server.issuer, ...(isMachine ? {} : PAGE), ...given })
  expect(found.wrong.sort()).toEqual([...wrong].sort())
  const mended = found.findings.filter(({ level }) => level !== 'ok').map((finding) => finding.fix)
  expect(mended).toContainEqual(expect.stringMatching(fix))
  expect(JSON.stringify(found)).not.toMatch(/not-to-be-shown|not the secret of|worker-secret|web-secret/)
})

test('the table breaks the server in more than twenty ways', () => {
  expect(new Set(table.map(({ title }) => title)).size).toBeGreaterThan(20)
})
