import { readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { expect, test } from 'vitest'
import { packageNames, read, root, sourcesOf } from './sources.ts'

// The layers of packages/core/src, as the architecture page of the docs draws them. A file imports from its own layer or one
// above it (a smaller number). A new file is put here on purpose.
const layers: Record<number, string[]> = {
  1: [
    'challenge.ts',
    'token-source.ts',
    'token-set.ts',
    'authorization-details.ts',
    'errors.ts',
    'verification-error.ts',
    'session-record.ts',
    'deadline.ts',
    'secure-url.ts',
    'base64url.ts',
    'jwt-part.ts',
    'standard-schema.ts',
  ],
  2: ['token-store.ts', 'lock.ts', 'memory-store.ts', 'transaction-store.ts', 'renewal-errors.ts', 'storage-call.ts'],
  3: [
    ...[
      'client.ts',
      'client-options.ts',
      'client-authentication.ts',
      'client-assertion.ts',
      'signing-key.ts',
      'discovery.ts',
      'server-answers.ts',
      'token-response.ts',
      'grant.ts',
    ],
    ...[
      'id-token.ts',
      'id-token-signature.ts',
      'server-keys.ts',
      'key-set.ts',
      'logout-token.ts',
      'introspection.ts',
      'remembered.ts',
    ],
    ...[
      'proof-of-possession.ts',
      'dpop.ts',
      'dpop-proof.ts',
      'bound-store.ts',
      'proof-key.ts',
      'proof-keys.ts',
      'proof-servers.ts',
    ],
  ],
  4: [
    'renewal-policy.ts',
    'token-parameters.ts',
    'held-token.ts',
    'session-options.ts',
    'shared-refresh-tokens.ts',
    'session-copy.ts',
  ],
  5: [
    'renewal.ts',
    'revocation.ts',
    'revocation-outbox.ts',
    'session.ts',
    'save-retry.ts',
    'session-snapshot.ts',
    'listeners.ts',
    'warnings.ts',
  ],
  6: ['source-options.ts', 'spending.ts', 'token-manager.ts', 'confidential-token-manager.ts'],
  7: [
    'grants/*',
    'user-info.ts',
    'ky.ts',
    'testing/*',
    'api-routes.ts',
    'token-fetch.ts',
    'redirects.ts',
    'step-up.ts',
    'authenticated-fetch.ts',
    ...['reconnection.ts', 'connection-token.ts'],
    ...['event-stream.ts', 'event-connection.ts', 'authenticated-events.ts'],
    ...[
      'web-socket-options.ts',
      'web-socket-connection.ts',
      'web-socket-connections.ts',
      'authenticated-web-socket.ts',
    ],
  ],
  8: ['index.ts', 'testing.ts'],
}

// Who may call oauth4webapi: where the protocol is spoken. Anybody may name its types.
const speaksProtocol = [
  ...['client.ts', 'discovery.ts', 'client-options.ts', 'client-authentication.ts', 'client-assertion.ts', 'grants/*'],
  ...['id-token.ts', 'id-token-signature.ts', 'key-set.ts', 'logout-token.ts', 'user-info.ts'],
  ...['dpop-proof.ts', 'proof-key.ts', 'introspection.ts'],
]

const matches = (file: string, patterns: string[]) => patterns.some((p) => posix.matchesGlob(file, p))
const layerOf = (file: string) => Number(Object.entries(layers).find(([, patterns]) => matches(file, patterns))?.[0])

test('the reader of these tests sees every kind of import, and every any', () => {
  const { imports, saysAny } = read(
    'a.ts',
    `import a from 'a'; import { type B } from 'b'; import 'c'; export * from 'd'; export type { E } from 'e'
     const f = await import('f'); let g: import('g').G; export const any = (x: unknown) => x as never`,
  )
  expect(imports.map(({ specifier, typeOnly }) => (typeOnly ? `type ${specifier}` : specifier)).sort()).toEqual([
    'a',
    'c',
    'd',
    'f',
    'type b',
    'type e',
    'type g',
  ])
  expect(saysAny).toBe(false)
  expect(read('b.ts', 'export const b = JSON.parse("1") as any').saysAny).toBe(true)
})

test('every file of core belongs to a declared layer', () => {
  expect(
    sourcesOf('core')
      .map((file) => file.name)
      .filter((name) => Number.isNaN(layerOf(name))),
  ).toEqual([])
})

test('a file of core imports only from its own layer or one above', () => {
  const downward = sourcesOf('core').flatMap(({ name, imports }) =>
    imports
      .filter(({ specifier }) => specifier.startsWith('.'))
      .map(({ specifier }) => posix.join(posix.dirname(name), specifier))
      .filter((target) => !(layerOf(target) <= layerOf(name)))
      .map((target) => `${name} → ${target}`),
  )
  expect(downward).toEqual([])
})

test('only the client, the grants and the imported strategies call oauth4webapi, and only ky.ts imports ky', () => {
  const outsiders = sourcesOf('core').flatMap(({ name, imports }) =>
    imports
      .filter(({ specifier, typeOnly }) => {
        if (specifier === 'ky') return name !== 'ky.ts'
        return specifier === 'oauth4webapi' && !typeOnly && !matches(name, speaksProtocol)
      })
      .map(({ specifier }) => `${name} → ${specifier}`),
  )
  expect(outsiders).toEqual([])
})

test('nothing in core imports ky.ts, so that nobody pays for ky unasked', () => {
  const importers = sourcesOf('core').filter(({ imports }) =>
    imports.some(({ specifier }) => /\/ky\.ts$/.test(specifier)),
  )
  expect(importers.map((file) => file.name)).toEqual([])
})

test.each(['browser', 'node'] as const)('%s knows core by its two entries only', (name) => {
  const foreign = sourcesOf(name).flatMap((file) =>
    file.imports
      .filter(({ specifier }) => {
        if (specifier === '@keyturn/core') return false
        if (specifier === '@keyturn/core/ky') return file.name !== 'ky.ts'
        return specifier.startsWith('@keyturn/') || posix.join(posix.dirname(file.name), specifier).startsWith('..')
      })
      .map(({ specifier }) => `${file.name} → ${specifier}`),
  )
  expect(foreign).toEqual([])
})

test('only the verifier imports jose, and it runs where Node does not', () => {
  const sources = new Map(sourcesOf('node').map((file) => [file.name, file]))
  const ofVerifier = new Set<string>()
  const foreign: string[] = []
  const follow = (name: string) => {
    if (ofVerifier.has(name)) return
    ofVerifier.add(name)
    for (const { specifier, typeOnly } of sources.get(name)?.imports ?? []) {
      if (specifier.startsWith('.')) follow(posix.join(posix.dirname(name), specifier))
      else if (!typeOnly && specifier !== 'jose' && specifier !== '@keyturn/core')
        foreign.push(`${name} → ${specifier}`)
    }
  }
  follow('verifier.ts')
  expect(ofVerifier.size).toBeGreaterThan(10)
  expect(foreign).toEqual([])
  const others = [...sources.values()].filter(({ imports }) => imports.some(({ specifier }) => specifier === 'jose'))
  expect(others.map(({ name }) => name).filter((name) => !ofVerifier.has(name))).toEqual([])
})

test.each(packageNames)('%s imports only what its package.json declares', (name) => {
  const { dependencies, peerDependencies } = JSON.parse(readFileSync(`${root}packages/${name}/package.json`, 'utf8'))
  const declared = Object.keys({ ...dependencies, ...peerDependencies })
  const allowed = (specifier: string) =>
    specifier.startsWith('.') ||
    (specifier.startsWith('node:') && name === 'node') ||
    declared.some((d) => specifier === d || specifier.startsWith(`${d}/`))
  expect(sourcesOf(name).flatMap((file) => file.imports.filter((i) => !allowed(i.specifier)))).toEqual([])
})

test('what is an optional peer is loaded when it is asked for, and not before', () => {
  const { peerDependencies, peerDependenciesMeta } = JSON.parse(
    readFileSync(`${root}packages/node/package.json`, 'utf8'),
  )
  const optional = Object.keys(peerDependencies).filter((one) => peerDependenciesMeta[one].optional)
  expect(optional).toEqual(['@napi-rs/keyring', '@opentelemetry/api'])
  for (const { name, text } of sourcesOf('node')) {
    if (name === 'opentelemetry.ts') continue // an entry of its own: who imports that asks for it
    for (const one of optional) expect(text, name).not.toMatch(new RegExp(`^import (?!type ).* from '${one}'`, 'm'))
  }
})

test.each(packageNames)('what %s exports has a sentence that says what it is', (name) => {
  const entries = ['index', 'ky', 'testing', 'doctor', 'opentelemetry'].map((entry) => `${entry}.ts`)
  const sources = sourcesOf(name)
  const lists = sources
    .filter((file) => entries.includes(file.name))
    .flatMap(({ text }) => text.match(/^export (type )?\{[^}]*\}|^export .*/gm))
  const exported = new Set(lists.join().match(/\w+/g))
  const silent = sources.flatMap(({ text }) =>
    [...text.matchAll(/(.*)\nexport (?:async )?(?:function|class|interface|type|const) (\w+)/g)]
      .filter(([, before, one = '']) => exported.has(one) && !/\*\/$/.test(before ?? ''))
      .map(([, , one]) => one),
  )
  // A function that has more than one form is told of at the first.
  const again = ['authorizationCode', 'deviceCode', 'deviceLogin', 'loopbackLogin', 'webSessions']
  expect(silent.filter((one) => !again.includes(one ?? ''))).toEqual([])
})

test.each(packageNames)('no file of %s is longer than 250 lines, says any or silences the compiler', (name) => {
  const offenders = sourcesOf(name).filter(
    ({ text, saysAny }) => text.trimEnd().split('\n').length > 250 || saysAny || /@ts-(ignore|nocheck)/.test(text),
  )
  expect(offenders.map((file) => file.name)).toEqual([])
})
