// One of two processes that share the session of `cli login`: calls the API until the token was renewed often enough.
import { fileStore, LoginRequiredError, password } from '@keyturn/node'
import { work } from '../../worker/src/worker.ts'

const {
  ISSUER = '',
  API_URL = '',
  SCOPE = '',
  USER_NAME = '',
  SESSION_FILE = '',
  SESSION_KEY = '',
  RENEWALS,
} = process.env

const source = password({
  issuer: ISSUER,
  clientId: 'cli',
  scope: SCOPE,
  username: USER_NAME,
  password: () => {
    throw new LoginRequiredError('login-required', 'The session was lost')
  },
  store: fileStore(SESSION_FILE, { key: SESSION_KEY }),
})
const tokens = new Set<number>()
const stop = new AbortController()
const report = async (outcome: number | Error) => {
  if (outcome !== 200) {
    console.error(`A call came to ${outcome instanceof Error ? outcome.message : outcome}`)
    process.exitCode = 1
    return stop.abort()
  }
  const { issuedAt } = await source.getTokenSet()
  tokens.add(issuedAt)
  if (tokens.size > Number(RENEWALS)) stop.abort()
}

await work({ source, url: API_URL, signal: stop.signal, every: 100, report: (outcome) => void report(outcome) })
if (process.exitCode !== 1) console.log([...tokens].join(' '))
