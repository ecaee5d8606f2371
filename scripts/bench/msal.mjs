// The same fleet with MSAL's distributed cache plug-in, which shares what is cached, and not who asks.
import { ConfidentialClientApplication, DistributedCachePlugin } from '@azure/msal-node'
import { server } from './contenders.mjs'

const ISSUER = 'https://login.example/tenant'
const metadata = {
  issuer: ISSUER,
  authorization_endpoint: `${ISSUER}/authorize`,
  token_endpoint: `${ISSUER}/token`,
  jwks_uri: `${ISSUER}/keys`,
}
const networkClient = {
  sendGetRequestAsync: async () => ({ status: 200, headers: {}, body: metadata }),
  async sendPostRequestAsync() {
    const { accessToken } = await server.issue()
    return { status: 200, headers: {}, body: { token_type: 'Bearer', expires_in: 3600, access_token: accessToken } }
  },
}
const partition = { getKey: async () => 'bench', extractKey: async () => 'bench' }

/** One application for each client of Redis; gives the way to have all of them ask. */
export function msalFleet(clients) {
  const applications = clients.map((client) => {
    const cache = { get: async (key) => (await client.get(key)) ?? '', set: (key, value) => client.set(key, value) }
    return new ConfidentialClientApplication({
      auth: { clientId: 'bench', clientSecret: 'secret', authority: ISSUER, knownAuthorities: ['login.example'] },
      cache: { cachePlugin: new DistributedCachePlugin(cache, partition) },
      system: { networkClient },
    })
  })
  const ask = (one) => one.acquireTokenByClientCredential({ scopes: ['https://api.example/.default'] })
  return () => Promise.all(applications.map(ask))
}
