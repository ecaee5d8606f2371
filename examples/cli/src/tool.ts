// A tool that calls an API as whoever signs in: in the browser or, where none can be opened, on another device.
import { homedir } from 'node:os'
import { join } from 'node:path'
import {
  authenticatedFetch,
  authorizationCode,
  deviceCode,
  deviceLogin,
  devicePrompt,
  fileStore,
  LoginRequiredError,
  loopbackLogin,
  OAuthError,
  type TokenManager,
} from '@keyturn/node'
import { plainText } from './plain-text.ts'
import { whileWaiting } from './while-waiting.ts'

const USAGE = `Usage: node tool.ts COMMAND

  login [--device]  signs in in the browser; --device, or where there is none: on another device
  whoami            who is signed in, and what the tool may do
  call URL          calls the API, and prints its answer
  token             prints an access token, for other programs
  logout            signs out

Set ISSUER and API_URL; CLIENT_ID, SCOPE, SESSION_FILE and SESSION_KEY where the defaults don't fit.`

const { API_URL: apis = '', CLIENT_ID, ISSUER: issuer = '', SCOPE, SESSION_FILE, SESSION_KEY } = process.env
const interrupted = new AbortController()
const { signal } = interrupted
const interrupt = () => {
  if (signal.aborted) process.exit(130) // not everything can be given up: a sign-out waits for the server
  interrupted.abort(new Error('Interrupted'))
}

const options = {
  issuer,
  clientId: CLIENT_ID ?? 'cli',
  scope: SCOPE ?? 'openid profile offline_access',
  parameters: { prompt: 'consent' }, // what many servers want for offline_access
  store: fileStore(
    SESSION_FILE ?? join(homedir(), '.config', 'keyturn-tool', 'session'),
    SESSION_KEY ? { key: SESSION_KEY } : {},
  ),
}

/** Whoever signed in in the browser, and whoever did on another device; nobody is asked to. */
const sessions = (): TokenManager[] => {
  const userAgent = { url: '', navigate() {}, replaceUrl() {} }
  return [authorizationCode({ ...options, redirectUri: 'http://127.0.0.1/callback', userAgent }), deviceCode(options)]
}

/** Whose session there is; undefined where nobody is signed in. */
async function signedIn(): Promise<TokenManager | undefined> {
  for (const session of sessions()) {
    try {
      await session.getAccessToken({ signal })
      return session
    } catch (error) {
      if (!(error instanceof LoginRequiredError)) throw error
    }
  }
  return undefined
}

async function current(): Promise<TokenManager> {
  const session = await signedIn()
  if (session) return session
  throw new LoginRequiredError('login-required', 'Nobody is signed in', { fix: 'Run: node tool.ts login' })
}

async function nameOf(session: TokenManager): Promise<string> {
  const { claims } = await session.getTokenSet()
  return plainText(claims?.name ?? claims?.sub ?? 'somebody')
}

function inBrowser(): Promise<TokenManager> {
  return whileWaiting('Your browser opens: sign in there. Ctrl+C gives up.', () =>
    loopbackLogin({ ...options, signal }),
  )
}

function onAnotherDevice(): Promise<TokenManager> {
  return deviceLogin({ ...options, signal, onPrompt: devicePrompt() })
}

const commands: Record<string, (argument: string) => Promise<void>> = {
  async login(flag) {
    let session = await signedIn()
    if (session) return console.log(`${await nameOf(session)} is signed in already`)
    try {
      session = await (flag === '--device' ? onAnotherDevice() : inBrowser())
    } catch (error) {
      if (!(error instanceof OAuthError && error.code === 'navigation-failed')) throw error
      session = await onAnotherDevice()
    }
    console.log(`Signed in as ${await nameOf(session)}`)
  },

  async whoami() {
    const session = await current()
    const { scope, expiresAt } = await session.getTokenSet()
    console.log(
      `${await nameOf(session)}, may ${plainText(scope)}; token good until ${new Date(expiresAt).toISOString()}`,
    )
  },

  async call(url) {
    const api = authenticatedFetch(await current(), { apis }) // no other URL sees a token
    const target = new URL(url, apis)
    const response = await whileWaiting(`Waiting for ${target.host}`, () => api(target, { signal }))
    console.log(await response.text())
    if (!response.ok) throw new Error(`The API answered ${response.status}`)
  },

  async token() {
    console.log(await (await current()).getAccessToken())
  },

  async logout() {
    for (const session of sessions()) await session.revoke()
    console.log('Signed out')
  },
}

const [name = '', argument = ''] = process.argv.slice(2)
const command = Object.hasOwn(commands, name) ? commands[name] : undefined
if (!command || (name === 'call' && !argument) || !apis || !issuer) {
  console.error(USAGE)
  process.exitCode = 2
} else {
  process.on('SIGINT', interrupt) // not `once`: whoever else listens would take it for unheard
  try {
    await command(argument)
  } catch (error) {
    const { message, fix } = error as OAuthError
    console.error(fix ? `${message}\n${fix}` : message)
    process.exitCode = 1
  } finally {
    process.off('SIGINT', interrupt)
  }
}
