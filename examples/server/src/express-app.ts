// A web app with a server of its own, in express: people sign in here, and their tokens never leave the server.
import { authenticatedFetch, LoginRequiredError } from '@keyturn/node'
import express, { type ErrorRequestHandler, type Express, type Response as ExpressResponse } from 'express'
import { type AppOptions, homePage, troublePage } from './app-options.ts'

export function expressApp({ sessions, loggedOut, api, home }: AppOptions): Express {
  const app = express().disable('x-powered-by')

  app.use((_request, response, next) => {
    response.set('cache-control', 'no-store') // what a person sees is theirs alone
    next()
  })

  app.get('/', async (request, response) => {
    const auth = await sessions.of(request)
    response.send(homePage(auth?.session))
  })

  app.get('/login', async (request, response) => {
    send(response, await sessions.login(request, { appState: '/' }))
  })

  app.get('/callback', async (request, response) => {
    const { appState, error, headers } = await sessions.handleCallback(request)
    response.setHeaders(headers)
    if (error) response.status(400).send(troublePage(error))
    else response.redirect(303, String(appState ?? '/'))
  })

  app.get('/me', async (request, response) => {
    const auth = await sessions.of(request)
    if (!auth) return send(response, await sessions.login(request, { appState: '/me' }))
    const fetchFromApi = authenticatedFetch(auth, { apis: api })
    const answer = await fetchFromApi(new URL('me', api))
    response.status(answer.ok ? 200 : 502).json({ api: await answer.json() })
  })

  app.post('/logout', async (request, response) => {
    send(response, await sessions.logout(request, { postLogoutRedirectUri: home }))
  })

  const form = 'application/x-www-form-urlencoded'
  app.post('/logged-out', express.text({ type: form }), async (request, response) => {
    const told = { method: 'POST', headers: { 'content-type': form }, body: String(request.body) }
    const answer = await loggedOut(new Request(home, told))
    response
      .status(answer.status)
      .setHeaders(answer.headers)
      .send(await answer.text())
  })

  const failed: ErrorRequestHandler = async (error, request, response, _next) => {
    if (error instanceof LoginRequiredError) send(response, await sessions.login(request, { appState: '/' }))
    else response.status(503).send(troublePage(error))
  }
  return app.use(failed)
}

function send(response: ExpressResponse, { status, headers }: Response): void {
  response.status(status).setHeaders(headers).end()
}
