import { build } from 'vite'
import { brotliCompressSync, constants } from 'node:zlib'
import { writeFileSync } from 'node:fs'
const root = process.argv[2]
const page = `
import { authenticatedFetch, authorizationCode } from '@keyturn/browser'
const auth = authorizationCode(globalThis.settings)
const api = authenticatedFetch(auth, globalThis.settings)
await auth.handleCallback()
globalThis.page = { login: () => auth.login(), token: () => auth.getAccessToken(), call: () => api('/'), logout: () => auth.logout() }
`
const result = await build({ root: root + '/examples/spa', configFile: false, logLevel: 'error',
  plugins: [{ name: 'p', resolveId: (id) => id === 'smallest-page' ? root + '/examples/spa/test/smallest-page.js' : null, load: (id) => id.endsWith('/smallest-page.js') ? page : null }],
  build: { write: false, target: 'es2024', modulePreload: false, rolldownOptions: { input: 'smallest-page' } } })
const code = [result].flat().flatMap((r) => r.output.filter((c) => c.type === 'chunk')).map((c) => c.code).join('')
writeFileSync(process.argv[3], code)
console.log(brotliCompressSync(code, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } }).byteLength, code.length)
