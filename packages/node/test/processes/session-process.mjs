// Signs in with a password or with what is in the file, and asks for a token all the time until it is told to stop.
import { fileStore, password } from '@keyturn/node'

const [issuer, file] = process.argv.slice(2)
const warnings = []
const source = password({
  issuer,
  clientId: 'cli',
  username: 'ada',
  password: 'lovelace',
  scope: 'openid',
  store: fileStore(file, { key: 'correct horse battery staple' }),
  onWarning: (message) => warnings.push(message),
})
const tokens = new Set()
const errors = []
let stopped = false
process.on('message', () => {
  stopped = true
})
while (!stopped) {
  try {
    tokens.add(await source.getAccessToken())
  } catch (error) {
    errors.push(`${error.name}: ${error.message}`)
  }
  await new Promise((resolve) => setTimeout(resolve, 20))
}
process.send({ tokens: tokens.size, errors, warnings, session: source.session.status, stats: source.stats() })
await source[Symbol.asyncDispose]()
process.disconnect()
