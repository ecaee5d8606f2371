// Imports the package where there is no page, and reports which globals that touched.
export interface Report {
  touched: string[]
  /** So that it is known that touching is noticed. */
  touchedByUse: string[]
  session: unknown
  known: string
}

const touched = new Set<string>()
const watched: [owner: object, name: string][] = [
  ...['indexedDB', 'BroadcastChannel', 'location', 'fetch', 'caches', 'setTimeout', 'Date'].map(
    (name): [object, string] => [globalThis, name],
  ),
  [navigator, 'locks'], // oauth4webapi reads navigator.userAgent, to know whether it may set the header
]
const originals = watched.map(([owner, name]) => [owner, name, Reflect.get(owner, name)] as const)
for (const [owner, name, value] of originals) {
  Object.defineProperty(owner, name, {
    configurable: true,
    get() {
      touched.add(name)
      return value
    },
  })
}

const { authorizationCode, indexedDBStore } = await import('@keyturn/browser')
const auth = authorizationCode({
  issuer: 'https://as.example',
  clientId: 'app',
  redirectUri: 'https://app.example/',
  store: indexedDBStore(),
})
const touchedByImport = [...touched]
const { session } = auth
await auth.getAccessToken().catch(() => {})
postMessage({
  touched: touchedByImport,
  touchedByUse: [...touched].sort(),
  session,
  known: auth.session.status,
} satisfies Report)
