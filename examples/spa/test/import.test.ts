import { execFileSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

// What server rendering does: the built package is imported, and a flow made, where there is no page.
const program = `
const touched = []
for (const name of ['indexedDB', 'sessionStorage', 'localStorage', 'location', 'document', 'window', 'history', 'BroadcastChannel', 'fetch']) {
  const value = globalThis[name === 'localStorage' || name === 'sessionStorage' ? '' : name]
  Object.defineProperty(globalThis, name, { configurable: true, get() { touched.push(name); return value } })
}
const { authorizationCode, signOutWhenIdle } = await import('@keyturn/browser')
await import('@keyturn/browser/ky')
const options = { issuer: 'https://as.example', clientId: 'app', redirectUri: 'https://app.example/' }
const auth = authorizationCode(options)
signOutWhenIdle(auth, { after: 60_000 })()
const { session } = auth
console.log(JSON.stringify({ touched, session }))
`

test('importing it in Node and making a flow touches nothing, and keeps no process alive', () => {
  const cwd = fileURLToPath(new URL('..', import.meta.url))
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', program], { cwd, timeout: 20_000 })
  const { touched, session } = JSON.parse(output.toString())
  expect(touched.filter((name: string) => name !== 'document')).toEqual([])
  expect(session).toEqual({ status: 'unknown' })
})

test('where a server renders there is no address, no login that comes back, and nothing that keeps the process alive', () => {
  const cwd = fileURLToPath(new URL('..', import.meta.url))
  const render = `
const { authorizationCode } = await import('@keyturn/browser')
const options = { issuer: 'https://as.example', clientId: 'app', redirectUri: 'https://app.example/', onWarning() {} }
const auth = authorizationCode(options)
auth.subscribe(() => {})
console.log(String(await auth.handleCallback()))
`
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', render], { cwd, timeout: 20_000 })
  expect(output.toString()).toBe('undefined\n')
})
