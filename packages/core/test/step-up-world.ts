import { authenticatedFetch, type StepUpRequest, stepUp } from '@keyturn/core'
import { type App, comeBack, startApp } from './sign-in-server.ts'

/** What a token of the authorization server stands for. */
interface Meaning {
  scope: string[]
  acr: string | null
}

/** Somebody who is signed in with scope "read", and an API whose paths say what they need: `/scope/a+b`, `/acr/high`. */
export async function startStepUp(confirm: (request: StepUpRequest, world: StepUpWorld) => Promise<unknown>) {
  const app = startApp({ scope: 'openid read' })
  const meanings = new Map<string, Meaning>()
  const requests: { url: string; body: string; token: string }[] = []
  const logins: URLSearchParams[] = []
  app.server.idToken = (claims) => ({ ...claims, auth_time: claims.iat })
  app.server.tokenResponse = (body) => {
    const asked = new URL(app.page.lastVisited).searchParams
    const token = `t${meanings.size + 1}`
    meanings.set(token, { scope: `${body.scope}`.split(' ').filter(granted), acr: asked.get('acr_values') })
    return { ...body, access_token: token }
  }
  let granted = (_word: string) => true

  const answer = async (request: Request) => {
    const { pathname } = new URL(request.url)
    const token = request.headers.get('authorization')?.replace('Bearer ', '') ?? ''
    requests.push({ url: pathname, body: await request.text(), token })
    await world.meanwhile?.(requests.length)
    const [, what, value = ''] = pathname.split('/')
    const { scope = [], acr = null } = meanings.get(token) ?? {}
    const needed = value.split('+')
    if (what === 'scope' && !needed.every((word) => scope.includes(word))) {
      return challenge(403, `error="insufficient_scope", scope="${needed.join(' ')}"`)
    }
    if (what === 'acr' && acr !== value) {
      return challenge(401, `error="insufficient_user_authentication", acr_values="${value}", max_age=60`)
    }
    if (what === 'says') return challenge(403, decodeURIComponent(value))
    return Response.json({ fine: true })
  }
  const underneath: typeof fetch = (input, init) => answer(new Request(input, init))

  const world: StepUpWorld = {
    app,
    requests,
    logins,
    logIn: async (options) => {
      await app.auth.login(options)
      logins.push(new URL(app.page.lastVisited).searchParams)
      app.page.url = app.server.authorize(app.page.lastVisited)
      return app.auth.handleCallback()
    },
    grantNothingOf(words) {
      granted = (word) => !words.includes(word)
    },
    fetch: underneath,
    api: authenticatedFetch(app.auth, {
      apis: 'https://api.example/',
      fetch: underneath,
      stepUp: stepUp(app.auth, { confirm: (request) => confirm(request, world) }),
    }),
    call: (path, init) => world.api(`https://api.example${path}`, init),
  }
  await comeBack(app)
  await app.auth.handleCallback()
  return world
}

export interface StepUpWorld {
  app: App
  /** What the API was sent. */
  requests: { url: string; body: string; token: string }[]
  /** The authorization requests of all logins but the first. */
  logins: URLSearchParams[]
  /** What a popup does: comes back without leaving the page. */
  logIn(options: ReturnType<StepUpRequest['login']>): Promise<unknown>
  grantNothingOf(words: string[]): void
  /** What happens while the API answers. */
  meanwhile?: (count: number) => Promise<unknown> | undefined
  /** The API itself. */
  fetch: typeof fetch
  api: typeof fetch
  call(path: string, init?: RequestInit): Promise<Response>
}

const challenge = (status: number, parameters: string) =>
  new Response('more is needed', { status, headers: { 'www-authenticate': `Bearer ${parameters}` } })
