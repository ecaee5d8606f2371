// Where the tests find a real Redis: $REDIS_SERVER, or redis-server on the PATH, or Debian's own packages, unpacked once into
// node_modules/.cache without root. What starts one here ends it.
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { folderOf, unpackedPackages } from './debian-packages.mjs'

/** What redis-server needs besides what every Debian has. */
const packages = ['redis-server', 'redis-tools', 'libjemalloc2', 'liblua5.1-0', 'liblzf1', 'lua-cjson', 'lua-bitop']

/** The command of a redis-server that is here already. */
export function installedRedis() {
  const folders = (process.env.PATH ?? '').split(delimiter)
  const candidates = [process.env.REDIS_SERVER, ...folders.map((folder) => join(folder, 'redis-server'))]
  return candidates.find((file) => file && existsSync(file)) ?? commandIn(folderOf('redis'))
}

/** The command of a redis-server, which is brought here where there is none. Throws where that cannot be. */
export function redisServer() {
  const installed = installedRedis()
  if (installed) return installed
  try {
    unpackedPackages('redis', [...packages, 'libatomic1'])
  } catch (cause) {
    throw new Error('No Redis: install redis-server, or set REDIS_SERVER to where it is', { cause })
  }
  const command = commandIn(folderOf('redis'))
  if (!command) throw new Error('No Redis in its packages: install redis-server, or set REDIS_SERVER to where it is')
  return command
}

function commandIn(folder) {
  const file = join(folder, 'usr/bin/redis-server')
  return existsSync(file) ? file : undefined
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

async function freePort() {
  const server = createServer()
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Whether something answers a PING. */
function answers(port) {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1', () => socket.write('PING\r\n'))
    const end = (answered) => {
      socket.destroy()
      resolve(answered)
    }
    socket.on('data', (data) => end(String(data).startsWith('+PONG')))
    socket.on('error', () => end(false))
    socket.setTimeout(500, () => end(false))
  })
}

/**
 * A real Redis on the loopback interface, with a folder of its own. `kept`: what was written survives `kill` (an
 * append-only file); otherwise it comes back empty. `cluster`: as a node of a cluster.
 */
export async function startRedis({ kept = false, cluster = false } = {}) {
  const command = redisServer()
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-redis-'))
  const port = await freePort()
  const unpacked = folderOf('redis')
  const libraries = command.startsWith(unpacked)
    ? readdirSync(join(unpacked, 'usr/lib')).map((name) => join(unpacked, 'usr/lib', name))
    : []
  const env = { ...process.env, LD_LIBRARY_PATH: [...libraries, process.env.LD_LIBRARY_PATH].filter(Boolean).join(':') }
  const settings = [
    '--bind',
    '127.0.0.1',
    '--port',
    String(port),
    '--dir',
    folder,
    '--save',
    '',
    '--loglevel',
    'warning',
  ]
  const announced = ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1']
  const clustered = cluster ? [...announced, '--cluster-port', String(await freePort())] : []
  const all = [...settings, '--appendonly', kept ? 'yes' : 'no', ...clustered]
  let child
  let said = ''

  async function start() {
    const starting = spawn(command, all, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [starting.stdout, starting.stderr]) stream.on('data', (data) => (said += data))
    child = starting
    const end = Date.now() + 10_000
    while (!(await answers(port))) {
      if (starting.exitCode !== null || Date.now() > end) throw new Error(`redis-server does not start: ${said}`)
      await wait(20)
    }
  }

  async function kill() {
    if (child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await gone
  }

  const last = () => child?.kill('SIGKILL') // nobody else ends it
  process.on('exit', last)
  await start()
  return {
    port,
    url: `redis://127.0.0.1:${port}`,
    /** SIGKILL; `start` brings it back at the same port. */
    kill,
    start,
    /** SIGSTOP and SIGCONT: the connections stay, and nothing is answered. */
    freeze: () => child.kill('SIGSTOP'),
    thaw: () => child.kill('SIGCONT'),
    async stop() {
      await kill()
      process.off('exit', last)
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
