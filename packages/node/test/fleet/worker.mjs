// One process of a fleet. It asks for tokens all the time until it is told to stop, and says what came of it. It uses the
// built package, as a user's process would: `npm run build` comes first.
import { clientCredentials, redisStore, refreshToken } from '@keyturn/node'

const { index, issuer, url, client: name, timeout, every = 50, seeds, key } = JSON.parse(process.argv[2])
const errors = []
const expired = []
const foreign = []
const last = {}
let served = 0
let stopped = false

async function connected() {
  if (name === 'redis') {
    const { createClient } = await import('redis')
    const client = createClient({ url }).on('error', () => {})
    await client.connect()
    return [client, () => client.destroy()]
  }
  const { Redis } = await import(name)
  const client = new Redis(url).on('error', () => {})
  await client.ping()
  return [client, () => client.disconnect()]
}

const [client, close] = await connected()
const options = {
  issuer,
  clientId: 'worker',
  clientSecret: 'secret',
  timeout,
  store: redisStore(client, { key: Uint8Array.from(key) }),
  onWarning() {},
  fetch(input, init) {
    const headers = new Headers(init?.headers)
    headers.set('x-worker', `${index}`)
    return fetch(input, { ...init, headers })
  },
}
const sources = seeds
  ? seeds.map(([user, seed]) => [user, refreshToken({ ...options, sessionKey: user, refreshToken: seed })])
  : [['machine', clientCredentials(options)]]

async function ask(user, source) {
  try {
    const token = await source.getAccessToken()
    const now = Date.now()
    const [whose, until] = token.split(' ')
    served++
    if (whose !== user) foreign.push([user, token])
    if (now > Number(until) + 250) expired.push(token)
    last[user] = token
  } catch ({ name, code, message, retryable }) {
    errors.push({ name, code, message, retryable })
  }
}

process.on('message', (message) => {
  if (message === 'stop') stopped = true
  if (message === 'now') process.send({ last })
})
process.send('ready')
await new Promise((begin) => process.once('message', begin))
while (!stopped) {
  await Promise.all(sources.map(([user, source]) => ask(user, source)))
  await new Promise((resolve) => setTimeout(resolve, every * (0.5 + Math.random())))
}
const states = sources.map(([, source]) => source.session.status)
process.send({ index, served, errors, expired, foreign, states })
for (const [, source] of sources) await source[Symbol.asyncDispose]()
close()
process.disconnect()
