import dns from 'node:dns'
import { authenticatedFetch, type TokenSource } from '@keyturn/core'
import { expect, onTestFinished, test, vi } from 'vitest'
import { candidates, isBelow } from './hostile-urls.ts'
import { type Recorded, startRecordingServers } from './recording-servers.ts'

const source: TokenSource = {
  getAccessToken: async () => 'secret',
  authorize: async () => ({
    accessToken: 'secret',
    headers: { authorization: 'DPoP secret', dpop: 'proof', 'x-signed': '1' },
  }),
}

/** Every name is this machine. */
function allNamesAreHere() {
  const lookup = vi.spyOn(dns, 'lookup')
  lookup.mockImplementation(((_name: string, options: dns.LookupOptions, callback: (...answer: unknown[]) => void) => {
    if (options.all) callback(null, [{ address: '127.0.0.1', family: 4 }])
    else callback(null, '127.0.0.1', 4)
  }) as never)
  onTestFinished(() => lookup.mockRestore())
}

test('of 10,000 hostile URLs and redirects none gets a token or a proof, and every URL of the API does', async () => {
  allNamesAreHere()
  const servers = await startRecordingServers()
  onTestFinished(servers.close)
  const home = `api.localhost:${servers.ports[0]}`
  const api = authenticatedFetch(source, { apis: `http://${home}/v1/` })
  const all = candidates(10_000, servers.ports)
  expect(new Set(all.map(({ url }) => url)).size).toBeGreaterThan(9_900)

  const queue = all.entries()
  const work = async () => {
    for (const [, { url }] of queue) {
      const text = await api(url).then(
        (response) => response.text(),
        (error: unknown) => error,
      )
      if (typeof text !== 'string') expect(text).toBeInstanceOf(TypeError)
    }
  }
  await Promise.all(Array.from({ length: 20 }, work))

  const isHome = ({ host, path }: Recorded) => host === home && isBelow(path)
  const leaks = servers.requests.filter((request) => request.secrets.length > 0 && !isHome(request))
  expect(leaks).toEqual([])
  const given = new Set(
    servers.requests.flatMap(({ path, secrets }) => (secrets.length === 3 ? /n\d+/.exec(path) : [])),
  )
  const refused = all.filter(({ url, isLegitimate }) => isLegitimate && !given.has(/n\d+/.exec(url)?.[0] ?? ''))
  expect(refused).toEqual([])
  const elsewhere = servers.requests.filter((request) => !isHome(request))
  expect(elsewhere.length).toBeGreaterThan(2500)
}, 600_000)
