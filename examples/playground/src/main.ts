// `npm start`: an authorization server, its APIs, two who call them, and a page, on this machine only.
import { parseArgs } from 'node:util'
import { clientCredentials, dpop, password } from '@keyturn/node'
import { installedRedis } from '../../../scripts/redis.mjs'
import { Actor } from './actor.ts'
import { Breakage } from './breakage.ts'
import { lineOf, runInLines } from './lines.ts'
import { runOnce } from './once.ts'
import { makeTrouble, settingsOf, stateOf } from './page-background.ts'
import { startPageServer } from './page-server.ts'
import { type Scene, sceneOf } from './scene.ts'
import { startServers } from './servers.ts'
import { runInTerminal } from './terminal.ts'

/** Seconds. */
const LIFETIME = 24

const flag = { type: 'boolean' } as const
const { once, refuse, fleet } = parseArgs({ options: { once: flag, refuse: flag, fleet: flag } }).values
/** Where there is a Redis to run it with. */
const offer = installedRedis() && 'Ten workers that share one token in Redis: npm start -- --fleet'

async function play(): Promise<void> {
  const page = await startPageServer({
    settings: () => settingsOf(servers, LIFETIME, quiet.timeout),
    state: () => stateOf(scene(), breakage),
    make: (trouble) => makeTrouble(breakage, trouble),
  })
  const servers = await startServers({
    accessTokenTTL: LIFETIME,
    host: 'localhost', // another site than the page's, as it would be
    spaOrigins: [page.origin],
    ...(refuse && { refuse }),
  })
  const { server, orders, vault } = servers
  const { issuer } = server
  const quiet = { issuer, scope: 'api:read', timeout: 1000, onWarning: () => {} }
  const worker = clientCredentials({
    ...quiet,
    clientId: 'worker',
    clientSecret: 'worker-secret',
    resource: vault.audience,
    dpop: dpop(),
  })
  const ada = password({
    ...quiet,
    clientId: 'cli',
    username: 'ada',
    password: 'lovelace',
    scope: 'openid api:read offline_access',
    resource: orders.audience,
  })
  const actors = [
    new Actor({
      name: 'worker',
      title: 'client credentials, DPoP → vault',
      clientId: 'worker',
      source: worker,
      api: vault,
      server,
    }),
    new Actor({ name: 'ada', title: 'password, rotation → orders', clientId: 'cli', source: ada, api: orders, server }),
  ]
  const breakage = new Breakage(server)
  const scene = (): Scene => {
    for (const actor of actors) void actor.look()
    return { ...sceneOf(server, actors, breakage), page: `${page.origin}/` }
  }

  const stopped = new AbortController()
  const stop = () => stopped.abort()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, stop)
  const { signal } = stopped
  if (process.stdin.isTTY && process.stdout.isTTY) {
    await runInTerminal({ scene, pressed: (key) => breakage.press(key), signal, stop })
    console.log(lineOf(scene()).replaceAll(' | ', '\n'))
    if (offer) console.log(offer)
  } else {
    console.log(`The page: ${page.origin}/`)
    if (offer) console.log(offer)
    await runInLines(scene, signal)
  }
  await Promise.all(actors.map((actor) => actor.stop()))
  await Promise.all([page.stop(), servers.stop()])
}

if (fleet) process.exitCode = await import('../../fleet/src/fleet.ts').then(({ runFleet }) => runFleet())
else if (once) process.exitCode = await runOnce({ refuse: refuse ?? false })
else await play()
