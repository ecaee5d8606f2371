// A program with a rotating session in a file, which shuts down in order when it is told to. It uses the built package.
import { fileStore, refreshToken } from '@keyturn/node'

const [origin, path, listens] = process.argv.slice(2)
const say = (line) => process.stdout.write(`${line}\n`)

const source = refreshToken({
  issuer: origin,
  clientId: 'server',
  refreshToken: 'first',
  discovery: false,
  metadata: { token_endpoint: `${origin}/token` },
  store: fileStore(path),
})
const work = setInterval(() => {}, 1_000) // what a server's socket does: it keeps the process alive

if (listens === 'alone') {
  // What libraries do that clean up at the end: the last to listen lets the signal through.
  const last = () => {
    if (process.listenerCount('SIGTERM') > 1) return
    process.removeListener('SIGTERM', last)
    process.kill(process.pid, 'SIGTERM')
  }
  process.on('SIGTERM', last)
} else if (listens !== 'never') {
  // Before the store is used for the first time.
  process[listens]('SIGTERM', async () => {
    say('asked to end')
    clearInterval(work)
    await source[Symbol.asyncDispose]()
    process.exitCode = 3
  })
}

say(await source.getAccessToken())
source.getAccessToken({ rejectedToken: 'token 1' }).then(say, (error) => say(error.message))
