// Calls an API every second with machine tokens: one token per lifetime, however the authorization server feels.
import { setTimeout as wait } from 'node:timers/promises'
import { authenticatedFetch, clientCredentials, type TokenSource } from '@keyturn/node'

export interface Work {
  /** Where the tokens come from. */
  source: TokenSource
  /** What is called. */
  url: string
  /** Ends it. */
  signal: AbortSignal
  /** Milliseconds between two calls; default 1000. */
  every?: number
  /** Told the status of every call, or why there is none. */
  report: (outcome: number | Error) => void
}

/** Calls until it is told to stop. */
export async function work({ source, url, signal, every = 1000, report }: Work): Promise<void> {
  const api = authenticatedFetch(source, { apis: url })
  while (!signal.aborted) {
    try {
      const response = await api(url, { signal })
      await response.text()
      report(response.status)
    } catch (error) {
      if (!signal.aborted) report(error instanceof Error ? error : new Error(String(error)))
    }
    await wait(every, undefined, { signal }).catch(() => {}) // aborted: the loop ends
  }
}

if (import.meta.main) {
  const { ISSUER = '', CLIENT_ID = '', CLIENT_SECRET = '', API_URL = '', SCOPE, RESOURCE } = process.env
  const source = clientCredentials({
    issuer: ISSUER,
    clientId: CLIENT_ID,
    clientSecret: CLIENT_SECRET,
    scope: SCOPE,
    resource: RESOURCE,
  })
  const stop = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
  const report = (outcome: number | Error) => {
    const { tokenRequests } = source.stats()
    const what = outcome instanceof Error ? outcome.message : outcome
    console.log(`${new Date().toISOString()}  ${what}  (token requests so far: ${tokenRequests})`)
  }
  await work({ source, url: API_URL, signal: stop.signal, report })
}
