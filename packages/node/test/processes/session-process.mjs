// Signs in with a password or with what is in the file, and asks for a token all the time until it is told to stop.
import { writeFileSync } from 'node:fs'
import { fileStore, password } from '@keyturn/node'

const { issuer, file, key = 'correct horse battery staple', timeout } = JSON.parse(process.argv[2])
const store = fileStore(file, { key: typeof key === 'string' ? key : Uint8Array.from(key) })
const warnings = []
const tokens = new Set()
const errors = []
let stopped = false
/** `unsent`, `sent`: freezes when its next refresh is written down but not sent, or sent and answered; one process does. */
let freezeWhen

process.on('message', (message) => {
  if (message === 'stop') stopped = true
  else freezeWhen = message
})

function freezeIf(when) {
  if (freezeWhen !== when) return
  freezeWhen = undefined
  try {
    writeFileSync(`${file}.frozen`, `${process.pid}`, { flag: 'wx' })
  } catch {
    return // another one is
  }
  process.kill(process.pid, 'SIGSTOP')
}

const source = password({
  issuer,
  clientId: 'cli',
  username: 'ada',
  password: 'lovelace',
  scope: 'openid',
  timeout,
  store: {
    ...store,
    async replace(key, expected, next) {
      const replaced = await store.replace(key, expected, next)
      if (replaced && next?.sending) freezeIf('unsent')
      return replaced
    },
  },
  async fetch(...request) {
    const response = await fetch(...request)
    if (String(request[1]?.body).includes('grant_type=refresh_token')) freezeIf('sent')
    return response
  },
  onWarning: (message) => warnings.push(message),
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
