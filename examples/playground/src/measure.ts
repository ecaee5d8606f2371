import type { Servers } from './servers.ts'

/** One line of the table: what the servers counted, and what was not as it should be. */
export interface Row {
  part: string
  tokenRequests: number
  apiCalls: number
  failures: number
  problems: string[]
}

/**
 * Does a part and reads off the servers what it cost. `act` rejects where something is not as it should be; it tells how
 * many token requests were refused on purpose. A fault that was set is counted as such by the server.
 */
export async function measure(part: string, servers: Servers, act: () => Promise<number>): Promise<Row> {
  const before = countersOf(servers)
  const problems: string[] = []
  const excused = await act().catch((error: Error) => {
    problems.push(error.message)
    return 0
  })
  const after = countersOf(servers)
  const refused = after.refusedTokenRequests - before.refusedTokenRequests - excused
  const unserved = after.unserved - before.unserved
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

function countersOf({ server, orders, invoices }: Servers) {
  const sum = (count: 'calls' | 'served') => orders[count] + invoices[count]
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
