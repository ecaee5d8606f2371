import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Servers, startServers } from '../../playground/src/servers.ts'
import { runNode } from '../../playground/test/run-node.ts'

let servers: Servers

beforeEach(async () => {
  servers = await startServers({ accessTokenTTL: 60 })
})

afterEach(() => servers.stop())

const start = (env: NodeJS.ProcessEnv = {}) =>
  runNode(new URL('../src/worker.ts', import.meta.url), [], {
    ISSUER: servers.server.issuer,
    CLIENT_ID: 'worker',
    CLIENT_SECRET: 'worker-secret',
    SCOPE: 'api:read',
    RESOURCE: servers.invoices.audience,
    API_URL: servers.invoices.url,
    ...env,
  })

test.each(['SIGINT', 'SIGTERM'] as const)(
  'the worker calls the API with one token until %s ends it',
  async (signal) => {
    const { invoices, server } = servers
    const worker = start()
    // What it has told of: a call that was served may be under way to it still, and given up.
    await expect.poll(() => worker.stdout.match(/ 200 /g)?.length, { timeout: 20_000 }).toBeGreaterThanOrEqual(3)
    worker.child.kill(signal)
    const { code, stdout, stderr } = await worker.ended
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout.match(/ {2}200 {2}\(token requests so far: 1\)\n/g)?.length).toBe(invoices.served)
    expect(server.tokenRequests()).toBe(1)
  },
)

test('the worker says why there is no token, and goes on', async () => {
  const worker = start({ CLIENT_SECRET: 'wrong' })
  await expect.poll(() => worker.stdout.match(/invalid_client/g)?.length, { timeout: 20_000 }).toBeGreaterThan(1)
  worker.child.kill('SIGTERM')
  expect((await worker.ended).code).toBe(0)
  expect(servers.invoices.calls).toBe(0)
})
