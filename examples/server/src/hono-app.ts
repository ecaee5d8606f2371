// The same web app in hono, which speaks standard Request and Response already.
import { authenticatedFetch, LoginRequiredError } from '@keyturn/node'
import { Hono } from 'hono'
import { type AppOptions, homePage, troublePage } from './app-options.ts'

export function honoApp({ sessions, loggedOut, api, home }: AppOptions): Hono {
  const app = new Hono()

  app.use(async (context, next) => {
    await next()
    context.header('cache-control', 'no-store') // what a person sees is theirs alone
  })

  app.get('/', async (context) => {
    const auth = await sessions.of(context.req.raw)
    return context.html(homePage(auth?.session))
  })

  app.get('/login', (context) => sessions.login(context.req.raw, { appState: '/' }))

  app.get('/callback', async (context) => {
    const { appState, error, headers } = await sessions.handleCallback(context.req.raw)
    headers.set('content-type', 'text/html; charset=utf-8')
    if (error) return new Response(troublePage(error), { status: 400, headers })
    headers.set('location', String(appState ?? '/'))
    return new Response(null, { status: 303, headers })
  })

  app.get('/me', async (context) => {
    const auth = await sessions.of(context.req.raw)
    if (!auth) return sessions.login(context.req.raw, { appState: '/me' })
    const fetchFromApi = authenticatedFetch(auth, { apis: api })
    const answer = await fetchFromApi(new URL('me', api))
    return context.json({ api: await answer.json() }, answer.ok ? 200 : 502)
  })

  app.post('/logout', (context) => sessions.logout(context.req.raw, { postLogoutRedirectUri: home }))

  app.post('/logged-out', (context) => loggedOut(context.req.raw))

  app.onError(async (error, context) => {
    if (error instanceof LoginRequiredError) return sessions.login(context.req.raw, { appState: '/' })
    return context.html(troublePage(error), 503)
  })
  return app
}
