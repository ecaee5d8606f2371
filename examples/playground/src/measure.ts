import type { Servers } from './servers.ts'

/** One line of the table: what the servers counted, and what was not as it should be. */
export interface Row {
  part: string
  tokenRequests: number
  apiCalls: number
  failures: number
  problems: string[]
}

/** How many are to be refused. */
export interface Excused {
  tokenRequests?: number
  apiCalls?: number
}

/** On a busy machine a token may end on its way to the API, at most once in each lifetime; the call is then sent again. */
export const ENDS_ON_ITS_WAY: Excused = { apiCalls: 3 }

/**
 * Does a part and reads off the servers what it cost. `act` rejects where something is not as it should be. A fault that
 * was set is counted as such by the server.
 */
export async function measure(
  part: string,
  servers: Servers,
  act: () => Promise<void>,
  { tokenRequests = 0, apiCalls = 0 }: Excused = {},
): Promise<Row> {
  const before = countersOf(servers)
  const problems: string[] = []
  await act().catch((error: Error) => {
    problems.push(error.message)
  })
  const after = countersOf(servers)
  const refused = Math.max(0, after.refusedTokenRequests - before.refusedTokenRequests - tokenRequests)
  const unserved = Math.max(0, after.unserved - before.unserved - apiCalls)
  if (refused > 0) problems.push(`${refused} token requests refused`)
  if (unserved > 0) problems.push(`${unserved} API calls not served`)
  if (after.reuses > before.reuses) problems.push('a spent refresh token was presented again')
  return {
    part,
    tokenRequests: after.tokenRequests - before.tokenRequests,
    apiCalls: after.calls - before.calls,
    failures: refused + unserved,
    problems,
  }
}

function countersOf({ server, orders, invoices, payments, vault }: Servers) {
  const apis = [orders, invoices, payments, vault]
  const sum = (count: 'calls' | 'served') => apis.reduce((all, api) => all + api[count], 0)
  const tokenRequests = server.tokenRequests()
  const faulty = server.log.filter(({ fault }) => fault).length
  return {
    tokenRequests,
    refusedTokenRequests: tokenRequests - server.tokenRequests({ status: 200 }) - faulty,
    calls: sum('calls'),
    unserved: sum('calls') - sum('served'),
    reuses: server.reuses,
  }
}
