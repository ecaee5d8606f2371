import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { runNode } from '../../../../examples/playground/test/run-node.ts'
import { type BreakableServer, diagnosed, ORIGIN, PAGE, serve, startServer } from './broken-server.ts'

const bin = new URL('../../dist/keyturn.js', import.meta.url)
const PROCESSES = 60_000 // each of these tests starts some

const command = (args: string[], env: NodeJS.ProcessEnv = {}) => runNode(bin, ['doctor', ...args], env).ended

async function refreshTokenOf(server: BreakableServer): Promise<string> {
  const response = await fetch(`${server.issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams({
      ...{ grant_type: 'password', client_id: 'cli', username: 'ada', password: 'lovelace' },
      scope: 'openid offline_access',
    }),
  })
  return Object(await response.json()).refresh_token
}

const spent = (server: BreakableServer, refreshToken: string) =>
  diagnosed({ issuer: server.issuer, clientId: 'cli', refreshToken })

test('rotation without grace is named, the session ended, and no token shown', async () => {
  const server = await startServer()
  const refreshToken = await refreshTokenOf(server)
  const { findings } = await spent(server, refreshToken)
  const found = findings.filter(({ id }) => /^(rotation|revocation)/.test(id)).map(({ id, level }) => `${level} ${id}`)
  expect(found).toEqual(['ok rotation', 'warning rotation-grace', 'ok rotation-reuse', 'ok revocation'])
  expect(JSON.stringify(findings)).not.toContain(refreshToken)
})

test('a spent refresh token that is good for a moment longer is grace', async () => {
  const server = await startServer()
  const token = await refreshTokenOf(server)
  let last: unknown
  server.change('/token', (ctx) => {
    if (ctx.status === 200) last = ctx.body
    else if (last) {
      ctx.status = 200
      ctx.body = last
    }
  })
  const { findings } = await spent(server, token)
  expect(findings).toContainEqual(expect.objectContaining({ id: 'rotation-grace', level: 'ok' }))
})

test('a refresh token of a public client that stays the same is a warning', async () => {
  const server = await startServer()
  const token = await refreshTokenOf(server)
  server.change('/token', (ctx) => {
    if (ctx.status === 200) ctx.body = { ...Object(ctx.body), refresh_token: undefined }
  })
  const { findings } = await spent(server, token)
  expect(findings).toContainEqual(expect.objectContaining({ id: 'rotation', level: 'warning' }))
})

test('a reuse without consequence is a warning', async () => {
  const server = await startServer()
  const token = await refreshTokenOf(server)
  const answers: unknown[] = []
  server.change('/token', (ctx) => {
    if (ctx.status === 200) answers.push(ctx.body)
    else if (Object(ctx).oidc?.body?.refresh_token !== token && answers.length > 0) {
      ctx.status = 200
      ctx.body = answers[0]
    }
  })
  const { findings } = await spent(server, token)
  expect(findings).toContainEqual(expect.objectContaining({ id: 'rotation-reuse', level: 'warning' }))
})

test('a refresh token that is refused is told without it', async () => {
  const server = await startServer()
  const { wrong, findings } = await spent(server, 'spent-long-ago')
  expect(wrong).toContain('error rotation')
  expect(JSON.stringify(findings)).not.toContain('spent-long-ago')
})

test('who asks for pushed requests only is looked at by a pushed one', async () => {
  const server = await startServer()
  server.change('/.well-known/openid-configuration', (ctx) => {
    ctx.body = { ...Object(ctx.body), require_pushed_authorization_requests: true }
  })
  const { wrong } = await diagnosed({ issuer: server.issuer, ...PAGE })
  expect(wrong).toEqual(['unknown pkce-required'])
  expect(server.log.some(({ path }) => path === '/request')).toBe(true)
})

test('a server that is away is told, not waited for', async () => {
  const server = await startServer()
  await server.away()
  expect(await diagnosed({ issuer: server.issuer })).toMatchObject({ wrong: ['error metadata'] })
})

test.each(['login.example.com', 'http://login.example.com', 'https://user:pw@login.example.com/', 'ftp://a.example'])(
  '%s is no issuer',
  async (issuer) => {
    const { wrong, findings } = await diagnosed({ issuer })
    expect(wrong).toEqual(['error address'])
    expect(findings[0]?.sentence).not.toContain('pw')
  },
)

test('an issuer that is written in another way is a warning', async () => {
  const server = await startServer()
  expect(await diagnosed({ ...PAGE, issuer: `${server.issuer}/` })).toMatchObject({ wrong: ['warning issuer'] })
})

test('a server without OpenID Connect needs no keys, and its metadata may be where RFC 8414 says', async () => {
  const issuer = await serve((request, response) => {
    response.setHeader('access-control-allow-origin', '*')
    if (request.url !== '/.well-known/oauth-authorization-server') return response.writeHead(404).end()
    const token_endpoint = `${issuer}/token`
    response.end(JSON.stringify({ issuer, token_endpoint, grant_types_supported: ['client_credentials'] }))
  })
  const { findings, wrong } = await diagnosed({ issuer, origin: PAGE.origin })
  expect(wrong).toEqual(['warning code-flow', 'unknown client-authentication'])
  expect(findings).toContainEqual(expect.objectContaining({ id: 'cors-metadata', level: 'ok' }))
})

test('metadata that are at the second address no page finds that cannot read that the first has none', async () => {
  const issuer = await serve((request, response) => {
    if (request.url !== '/.well-known/oauth-authorization-server') return response.writeHead(404).end()
    response.setHeader('access-control-allow-origin', '*')
    response.end(JSON.stringify({ issuer, token_endpoint: `${issuer}/token` }))
  })
  const { findings } = await diagnosed({ issuer, origin: PAGE.origin })
  expect(findings).toContainEqual(expect.objectContaining({ id: 'cors-metadata', level: 'error' }))
})

test('metadata that pages reach by a redirect are reached', async () => {
  const issuer = await serve((request, response) => {
    if (request.url === '/.well-known/oauth-authorization-server') return response.writeHead(404).end()
    response.setHeader('access-control-allow-origin', '*')
    if (request.url !== '/metadata') return response.writeHead(301, { location: '/metadata' }).end()
    response.end(JSON.stringify({ issuer, token_endpoint: `${issuer}/token` }))
  })
  const { findings } = await diagnosed({ issuer, origin: PAGE.origin })
  expect(findings).toContainEqual(expect.objectContaining({ id: 'cors-metadata', level: 'ok' }))
})

test('a server that shows a page whatever it is asked tells nothing of the registration', async () => {
  const server = await startServer()
  server.change('/auth', (ctx) => {
    ctx.status = 200
    ctx.remove('location')
    ctx.body = '<!doctype html><div id=app></div>'
  })
  const { wrong, findings } = await diagnosed({ issuer: server.issuer, ...PAGE })
  expect(wrong).toEqual(['unknown redirect-uri'])
  expect(findings.map(({ id }) => id)).not.toContain('pkce-required')
})

test('pages where people sign in, and an error page for what is not registered, tell enough', async () => {
  const server = await startServer()
  server.change('/auth', (ctx) => {
    if (ctx.status >= 400) return
    ctx.redirect('/login?session=1')
  })
  const { wrong, findings } = await diagnosed({ issuer: server.issuer, ...PAGE })
  expect(findings).toContainEqual(expect.objectContaining({ id: 'redirect-uri', level: 'ok' }))
  expect(wrong).toEqual(['warning pkce-required', 'warning pkce-plain']) // this server hides its refusals
})

test('a page to sign in on is no error because the app is named like one', async () => {
  const app = 'https://errors.example.com'
  const server = await startServer({ spaOrigins: [app] })
  server.change('/auth', (ctx) => {
    if (ctx.status < 400) ctx.redirect(`/login?continue=${encodeURIComponent(ctx.href)}`)
  })
  const { findings } = await diagnosed({ issuer: server.issuer, ...PAGE, redirectUri: `${app}/callback`, origin: app })
  expect(findings).toContainEqual(expect.objectContaining({ id: 'redirect-uri', level: 'ok' }))
})

test('the time of a cached answer is not taken for now', async () => {
  const server = await startServer()
  server.change('/.well-known/openid-configuration', (ctx) => {
    ctx.set('date', new Date(Date.now() - 600_000).toUTCString())
    ctx.set('age', '600')
  })
  expect(await diagnosed({ issuer: server.issuer, ...PAGE })).toMatchObject({ wrong: [] })
})

test(
  'a password that somebody wrote into the address is not shown',
  async () => {
    const { code, stdout } = await command(['https://ada:lovelace@login.example.com/'])
    expect([code, stdout]).toEqual([1, expect.stringMatching(/^https:\/\/login\.example\.com\/\n/)])
    expect(stdout).not.toContain('lovelace')
    for (const scheme of ['https:/', 'https:', ' https://', 'https:\\\\', '', 'web+https://', '//']) {
      expect((await command([`${scheme}ada:lovelace@login.example.com/`])).stdout).not.toContain('lovelace')
    }
  },
  PROCESSES,
)

test('an answer without end is cut', async () => {
  const issuer = await serve((request, response) => {
    if (request.url?.startsWith('/.well-known')) {
      const endpoint = `${issuer}/endless`
      return response.end(
        JSON.stringify({ issuer, authorization_endpoint: endpoint, token_endpoint: endpoint, jwks_uri: endpoint }),
      )
    }
    const more = () => {
      while (!response.destroyed && response.write('x'.repeat(65_536)));
    }
    response.on('drain', more)
    more()
  })
  const { wrong } = await diagnosed({ issuer, ...PAGE, timeout: 5000 })
  expect(wrong).toContain('error keys')
})

test(
  'metadata that hold nonsense are findings, and what they say steers no terminal',
  async () => {
    const issuer = await serve((request, response) => {
      if (!request.url?.startsWith('/.well-known')) return response.writeHead(404).end()
      response.end(
        JSON.stringify({
          issuer,
          authorization_endpoint: 7,
          token_endpoint: { a: 1 },
          jwks_uri: ['x'],
          response_types_supported: 'code',
          grant_types_supported: null,
          code_challenge_methods_supported: ['\u001b[31mplain\u202e'],
          id_token_signing_alg_values_supported: [{}, '\u001b]0;title\u0007'],
          scopes_supported: 5,
        }),
      )
    })
    const { code, stdout } = await command([issuer, '--client-id', 'me', '--dpop'])
    expect(code).toBe(1)
    expect(stdout).toMatch(/error +endpoints/)
    expect(stdout).toMatch(/error +pkce /)
    expect(stdout).toMatch(/error +id-token/)
    expect(stdout.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}]/u)
  },
  PROCESSES,
)

test(
  'a refresh token is spent only where that is asked for by name',
  async () => {
    const server = await startServer()
    const env = { KEYTURN_REFRESH_TOKEN: await refreshTokenOf(server) }
    const args = [server.issuer, '--client-id', 'cli']
    expect((await command(args, env)).stdout).not.toContain('rotation')
    expect(server.tokenRequests({ grantType: 'refresh_token' })).toBe(0)
    const { stdout } = await command([...args, '--spend-refresh-token'], env)
    expect(stdout).toContain('rotation')
    expect(stdout).not.toContain(env.KEYTURN_REFRESH_TOKEN)
  },
  PROCESSES,
)

test(
  'a secret comes from the environment or a file, never as an argument',
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'keyturn-doctor-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const file = join(folder, 'secret')
    await writeFile(file, 'web-secret\n')
    const server = await startServer()
    const args = [server.issuer, '--client-id', 'web']
    const runs = await Promise.all([
      command([...args, '--client-secret-file', file]),
      command(args, { KEYTURN_CLIENT_SECRET: 'web-secret' }),
    ])
    for (const { stdout } of runs) {
      expect(stdout).toMatch(/ok +client-authentication/)
      expect(stdout).not.toContain('web-secret')
    }
    for (const secret of [['--client-secret=abc123'], ['--refresh-token', 'abc123'], ['--private-key=abc123']]) {
      const { code, stderr } = await command([...args, ...secret])
      expect([code, stderr]).toEqual([2, expect.stringMatching(/^A secret is no argument/)])
      expect(stderr).not.toContain('abc123')
    }
  },
  PROCESSES,
)

test(
  'what cannot be understood is told with how to say it',
  async () => {
    const wrong = [
      [],
      ['https://a.example', 'https://b.example'],
      ['https://a.example', '--timeout', 'soon'],
      ['https://a.example', '--origin', 'https://app.example/path'],
      ['https://a.example', '--nonsense'],
      ['https://a.example', '--client-id'],
      ['https://a.example', '--spend-refresh-token', '--client-id', 'me'],
      ['https://a.example', '--refresh-token-file', '/nowhere/token'],
      ['https://a.example', '--client-secret-file', '/nowhere/secret'],
    ]
    for (const args of wrong) {
      const { code, stdout, stderr } = await command(args)
      expect([code, stdout, stderr]).toEqual([2, '', expect.stringContaining('Usage: keyturn doctor ISSUER')])
    }
  },
  PROCESSES,
)

test(
  'people are told what to mend, without colour where nobody sees it',
  async () => {
    const server = await startServer()
    const { issuer } = server
    const page = ['--client-id', 'spa', '--redirect-uri', PAGE.redirectUri, '--scope', PAGE.scope]
    const { code, stdout, stderr } = await command([issuer, ...page, '--origin', 'https://a.example'])
    expect([code, stderr]).toEqual([1, ''])
    expect(stdout).toMatch(/^http:\/\/127.0.0.1:\d+\n\nok +tls /)
    expect(stdout).toMatch(
      /\nerror +cors-token +Pages of https:\/\/a\.example cannot read .*\n +Allow the origin .*\(Fetch Standard/,
    )
    expect(stdout).toMatch(/\n\n1 error, \d+ ok\n$/)
    expect(stdout).not.toContain('\u001b')

    const whole = await command([issuer, ...page, '--origin', PAGE.origin, '--json'])
    expect([whole.code, whole.stderr]).toEqual([0, ''])
    expect(JSON.parse(whole.stdout)).toMatchObject({ issuer, counts: { error: 0, warning: 0, unknown: 0 } })
  },
  PROCESSES,
)

test(
  'a reader that has seen enough is no failure, and changes nothing of what was found',
  async () => {
    const { issuer } = await startServer()
    const run = runNode(bin, ['doctor', issuer])
    run.child.stdout?.destroy()
    expect(await run.ended).toEqual({ code: 0, stdout: '', stderr: '' })
  },
  PROCESSES,
)

test('any number of milliseconds may be waited for', async () => {
  const server = await startServer()
  for (const timeout of [9999.5, Number.POSITIVE_INFINITY]) {
    expect(await diagnosed({ issuer: server.issuer, ...PAGE, timeout })).toMatchObject({ wrong: [] })
  }
})

test('an origin may be given as an address bar shows it', async () => {
  const server = await startServer()
  const origin = `${PAGE.origin}/`
  expect(await diagnosed({ issuer: server.issuer, ...PAGE, origin })).toMatchObject({ wrong: [] })
})

test(
  'the command has a help, and other words are none',
  async () => {
    const runs = [['--help'], ['doctor', '--help'], [], ['nurse', 'https://a.example']]
    const ended = await Promise.all(runs.map((args) => runNode(bin, args).ended))
    expect(ended.map(({ code }) => code)).toEqual([0, 0, 2, 2])
    for (const { stdout, stderr } of ended) expect(stdout + stderr).toContain('Usage: keyturn doctor ISSUER')
  },
  PROCESSES,
)

test('a secret that a server puts into a redirect or a header is not shown either', async () => {
  const server = await startServer()
  server.change('/auth', (ctx) => {
    ctx.redirect(`${ORIGIN}/web?error=invalid_request&error_description=the%20secret%20is%20web%2dsecret`)
  })
  server.change('/token', (ctx) => ctx.set('access-control-allow-origin', 'web-secret'))
  const { findings } = await diagnosed({
    ...{ issuer: server.issuer, clientId: 'web', clientSecret: 'web-secret' },
    ...{ redirectUri: `${ORIGIN}/web`, origin: ORIGIN },
  })
  const said = JSON.stringify(findings)
  expect(said).toContain('the secret is')
  expect(said).not.toContain('web-secret')
})

test('the secret of a request is in none of its answers', async () => {
  const issuer = await serve(async (request, response) => {
    if (request.url?.startsWith('/.well-known')) {
      return response.end(JSON.stringify({ issuer, token_endpoint: `${issuer}/token`, jwks_uri: `${issuer}/keys` }))
    }
    const sent = `${request.headers.authorization} ${await text(request)}`
    response.writeHead(400, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ error: 'invalid_request', error_description: `${sent} s3cr3t-of-the-client` }))
  })
  const said = JSON.stringify(await diagnosed({ issuer, clientId: 'me', clientSecret: 's3cr3t-of-the-client' }))
  expect(said).toContain('invalid_request')
  expect(said).not.toMatch(/s3cr3t|Basic /)
})
