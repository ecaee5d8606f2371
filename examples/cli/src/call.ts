// A tool that calls an API as whoever signs in: in the browser or, where none can be opened, on another device.
import { homedir } from 'node:os'
import { join } from 'node:path'
import { authenticatedFetch, deviceLogin, fileStore, loopbackLogin, OAuthError, type TokenManager } from '@keyturn/node'

const { API_URL: apis = '', CLIENT_ID, ISSUER: issuer = '', SCOPE, SESSION_FILE, SESSION_KEY } = process.env
const interrupted = new AbortController()
const interrupt = () => interrupted.abort(new Error('Not signed in: interrupted'))

const options = {
  issuer,
  clientId: CLIENT_ID ?? 'cli',
  scope: SCOPE ?? 'openid profile offline_access',
  parameters: { prompt: 'consent' }, // what many servers want for offline_access
  store: fileStore(
    SESSION_FILE ?? join(homedir(), '.config', 'keyturn-cli', 'session'),
    SESSION_KEY ? { key: SESSION_KEY } : {},
  ),
  signal: interrupted.signal,
}

/** The session of the last time where there is one; else a person has to act. */
async function signIn(): Promise<TokenManager> {
  try {
    return await loopbackLogin(options)
  } catch (error) {
    if (!(error instanceof OAuthError && error.code === 'navigation-failed')) throw error
    return deviceLogin({
      ...options,
      onPrompt({ verificationUri, userCode, expiresAt }) {
        const until = new Date(expiresAt).toLocaleTimeString()
        console.error(`To sign in go to ${verificationUri}\nand type ${userCode}, until ${until}`)
      },
    })
  }
}

const [path] = process.argv.slice(2)
if (!path || !apis || !issuer) {
  console.error('Usage: ISSUER=… API_URL=… node call.ts PATH')
  process.exitCode = 2
} else {
  process.on('SIGINT', interrupt) // not `once`: whoever else listens would take it for unheard
  try {
    const session = await signIn()
    process.off('SIGINT', interrupt)
    const api = authenticatedFetch(session, { apis })
    const response = await api(new URL(path, apis))
    console.log(await response.text())
    if (!response.ok) throw new Error(`The API answered ${response.status}`)
  } catch (error) {
    const { message, fix } = error as OAuthError
    console.error(fix ? `${message}\n${fix}` : message)
    process.exitCode = 1
  }
}
