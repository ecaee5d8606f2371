import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants } from 'node:zlib'
import { build, type Rolldown } from 'vite'
import { expect, test } from 'vitest'

/** Bytes, brotli: what a page loads to sign people in, keep a fresh token, call an API and sign out. */
const LIMIT = 20_600

// The smallest page that does all of it; every option is known at run time only.
const pageWith = (strategy = '') => `
import { authenticatedFetch, authorizationCode${strategy && `, ${strategy}`} } from '@keyturn/browser'
${strategy && `globalThis.strategy = ${strategy}`}
const auth = authorizationCode(globalThis.settings)
const api = authenticatedFetch(auth, globalThis.settings)
await auth.handleCallback()
globalThis.page = { login: () => auth.login(), token: () => auth.getAccessToken(), call: () => api('/'), logout: () => auth.logout() }
`

const brotli = (text: string) =>
  brotliCompressSync(text, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }).byteLength

/** The page's chunks, tree-shaken and minified. */
async function bundle(page = pageWith()): Promise<Rolldown.OutputChunk[]> {
  const result = await build({
    root: fileURLToPath(new URL('..', import.meta.url)),
    configFile: false,
    logLevel: 'error',
    plugins: [
      {
        name: 'smallest-page',
        resolveId: (id) =>
          id === 'smallest-page' ? fileURLToPath(new URL('smallest-page.js', import.meta.url)) : null,
        load: (id) => (id.endsWith('/smallest-page.js') ? page : null),
      },
    ],
    build: { write: false, target: 'es2024', modulePreload: false, rolldownOptions: { input: 'smallest-page' } },
  })
  return [result].flat().flatMap((one) => ('output' in one ? one.output.filter((chunk) => chunk.type === 'chunk') : []))
}

/** How much of the tree-shaken code comes from where, in per cent. */
function shares(chunks: Rolldown.OutputChunk[]): Map<string, number> {
  const lengths = new Map<string, number>()
  for (const [id, { renderedLength }] of chunks.flatMap(({ modules }) => Object.entries(modules))) {
    const [, dependency, own] = /.*\/(?:node_modules\/((?:@[^/]+\/)?[^/]+)|packages\/([^/]+))\//.exec(id) ?? []
    const name = own ? `@keyturn/${own}` : (dependency ?? 'the page')
    lengths.set(name, (lengths.get(name) ?? 0) + renderedLength)
  }
  const all = [...lengths.values()].reduce((sum, length) => sum + length, 0)
  return new Map([...lengths].map(([name, length]) => [name, Math.round((100 * length) / all)]))
}

test(`the smallest page that signs in, calls an API and signs out is less than ${LIMIT} bytes`, async () => {
  const chunks = await bundle()
  const total = chunks.reduce((sum, { code }) => sum + brotli(code), 0)
  const parts = shares(chunks)
  const table = [...parts].map(([name, share]) => `${name} ${share} %`)
  console.log(`${total} bytes, ${chunks.length} chunk(s): ${table.join(', ')}`)
  expect([...parts.keys()]).toEqual(expect.arrayContaining(['@keyturn/core', '@keyturn/browser', 'oauth4webapi']))
  expect(chunks.map(({ code }) => code).join()).not.toMatch(/client_credentials|popup-closed/)
  expect(total).toBeLessThan(LIMIT)
})

// A difference of two compressed texts moves by some 75 bytes where neither of them has grown: limits stand 100 above.
test.each([
  ['pushedAuthorizationRequests', 400],
  ['requestObject', 1200],
  ['jarm', 2900],
  ['idTokenSignature', 2700],
  ['dpop', 1800],
  ['fetchUserInfo', 900],
  ['revocationOutbox', 1100],
  ['signOutWhenIdle', 1000],
  ['handleFrontChannelLogout', 400],
  ['authenticatedEvents', 3400],
  ['authenticatedWebSocket', 2600],
])('who imports %s pays less than %i bytes for it', async (strategy, limit) => {
  const [without, own] = await Promise.all([bundle(), bundle(pageWith(strategy))])
  const size = (chunks: Rolldown.OutputChunk[]) => chunks.reduce((sum, { code }) => sum + brotli(code), 0)
  expect(size(own) - size(without)).toBeGreaterThan(0)
  expect(size(own) - size(without)).toBeLessThan(limit)
})
