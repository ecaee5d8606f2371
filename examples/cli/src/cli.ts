// A command line that signs in with a password and stays signed in, in one file that all its processes share.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import {
  authenticatedFetch,
  fileStore,
  LoginRequiredError,
  OAuthError,
  password,
  type TokenManager,
} from '@keyturn/node'
import { askCredentials } from './ask.ts'
import { plainText } from './plain-text.ts'

const { env } = process
const file = env.SESSION_FILE ?? join(homedir(), '.config', 'keyturn-cli', 'session')
const nameFile = `${file}.user` // who signed in last; a session is found by that name

function setting(name: string): string {
  const value = env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}

const signedOut = () => {
  throw new LoginRequiredError('login-required', 'Nobody is signed in', { fix: 'Run: node cli.ts login' })
}

/** The session of a user; `secret` is asked for only when there is nothing to refresh. */
function sessionOf(username: string, secret: () => string = signedOut): TokenManager {
  return password({
    issuer: setting('ISSUER'),
    clientId: env.CLIENT_ID ?? 'cli',
    scope: env.SCOPE ?? 'openid profile offline_access',
    resource: env.RESOURCE,
    username,
    password: secret,
    store: fileStore(file, env.SESSION_KEY ? { key: env.SESSION_KEY } : {}),
  })
}

/** The session of who is named, else of who signed in last. */
async function currentSession(): Promise<TokenManager> {
  return sessionOf(env.USER_NAME || (await lastUser()))
}

async function lastUser(): Promise<string> {
  return readFile(nameFile, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return signedOut()
    throw error // a file that is there and cannot be read says nothing about who is signed in
  })
}

const commands: Record<string, (argument: string) => Promise<void>> = {
  async login() {
    const { USER_NAME, PASSWORD } = env
    const given = USER_NAME && PASSWORD ? { username: USER_NAME, password: PASSWORD } : await askCredentials(USER_NAME)
    if (!given) throw new Error('Not signed in: no user name, or no password')
    await sessionOf(given.username).revoke() // a session from before would make the password look right
    const session = sessionOf(given.username, () => given.password)
    await session.getAccessToken()
    // Only now: who mistypes a password does not lose sight of whoever is signed in.
    await mkdir(dirname(nameFile), { recursive: true, mode: 0o700 })
    await writeFile(nameFile, given.username, { mode: 0o600 }).catch(async (error) => {
      await session.revoke() // nobody would find it
      throw error
    })
    console.log(`Signed in as ${given.username}`)
  },

  async call(path) {
    const apis = setting('API_URL')
    const api = authenticatedFetch(await currentSession(), { apis }) // no other URL sees a token
    const response = await api(new URL(path, apis))
    console.log(await response.text())
    if (!response.ok) throw new Error(`The API answered ${response.status}`)
  },

  async whoami() {
    const { claims, scope, expiresAt } = await (await currentSession()).getTokenSet()
    const who = plainText(`${claims?.name ?? claims?.sub}, may ${scope}`)
    console.log(`${who}; token good until ${new Date(expiresAt).toISOString()}`)
  },

  async logout() {
    await (await currentSession()).revoke()
    await rm(nameFile, { force: true })
    console.log('Signed out')
  },
}

const [name = '', argument = ''] = process.argv.slice(2)
const command = Object.hasOwn(commands, name) ? commands[name] : undefined
if (!command || (name === 'call' && !argument)) {
  console.error('Usage: node cli.ts login | call URL | whoami | logout')
  process.exitCode = 2
} else {
  await command(argument).catch((error: Error) => {
    console.error(error.message)
    if (error instanceof OAuthError && error.fix) console.error(error.fix)
    process.exitCode = 1
  })
}
