// ISSUER, CLIENT_ID, CLIENT_SECRET, API_URL, COOKIE_KEY and STORE_KEY in the environment; FRAMEWORK=hono for the other app.
import { createServer } from 'node:http'
import { getRequestListener } from '@hono/node-server'
import { backChannelLogout, fileStore, webSessions } from '@keyturn/node'
import { expressApp } from './express-app.ts'
import { honoApp } from './hono-app.ts'

const { env } = process

function setting(name: string): string {
  const value = env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}

const port = Number(env.PORT ?? 3000)
const home = env.HOME_URL ?? `http://127.0.0.1:${port}/` // where browsers find the app: https, behind a proxy
const client = {
  issuer: setting('ISSUER'),
  clientId: setting('CLIENT_ID'),
  clientSecret: () => setting('CLIENT_SECRET'),
}
const sessions = webSessions({
  ...client,
  redirectUri: new URL('callback', home).href,
  scope: env.SCOPE ?? 'openid profile offline_access',
  // All processes on this machine may share the file, and a restart signs nobody out.
  store: fileStore(env.SESSION_FILE ?? '.sessions.json', { key: setting('STORE_KEY') }),
  cookieKey: setting('COOKIE_KEY').split(' '), // to change it, put the new one in front and keep the old one for a week
})

// Registered as backchannel_logout_uri: who signs out at the authorization server is signed out here, too.
const loggedOut = backChannelLogout({ ...client, onLogout: (who) => sessions.end(who) })

const options = { sessions, loggedOut, api: setting('API_URL'), home }
const listener = env.FRAMEWORK === 'hono' ? getRequestListener(honoApp(options).fetch) : expressApp(options)
createServer(listener).listen(port, '127.0.0.1', () => console.log(`The app is at ${home}`))
