import { within } from './deadline.ts'
import {
  AuthorizationServerError,
  LoginRequiredError,
  type OAuthError,
  type StoreError,
  TokenUnavailableError,
} from './errors.ts'
import { completed } from './grant.ts'
import type { HeldToken } from './held-token.ts'
import { lostLease, sessionEnded } from './renewal-errors.ts'
import {
  assertAskable,
  assertMine,
  assertSameUser,
  discard,
  end,
  fail,
  type Renewal,
  refusalsOf,
  save,
  storageFailed,
  usable,
  write,
} from './renewal-outcome.ts'
import { type SessionRecord, succeeded, told } from './session-record.ts'
import { tokenParameters } from './token-parameters.ts'
import type { Issued } from './token-set.ts'

/**
 * R5, under the lock: re-read → check the lease → journal "sending" → request → replace if unchanged. Rejects with an
 * `OAuthError`; what the failure means for the session is in the record by then.
 */
export async function renew(renewal: Renewal): Promise<HeldToken> {
  const { copy, tokenKey, rejected } = renewal
  await copy.refresh()
  assertMine(renewal)
  const held = copy.held.get(tokenKey)
  if (held?.phase === 'fresh' && !rejected.has(held.stored.accessToken)) {
    renewal.refusals.clear() // a sibling did better
    return held
  }
  const stored = copy.base
  assertAskable(renewal, stored)
  const record = { ...stored, refusals: held && rejected.has(held.stored.accessToken) ? refusalsOf(stored, held) : 0 }
  return record.refreshToken === undefined ? ask(renewal, record) : refresh(renewal, record, record.refreshToken)
}

/** R12, the store cannot be read or locked: a grant that can ask again goes on from memory, the others wait. */
export async function renewWithoutStore(renewal: Renewal, cause: StoreError): Promise<HeldToken> {
  const { copy, tokenKey } = renewal
  const record = copy.base
  assertAskable(renewal, record)
  renewal.degraded('the token store fails, tokens live in memory', cause)
  // A refresh token that could never be stored is nobody else's.
  if (record.refreshToken !== undefined && (await copy.isOurs(record.refreshToken))) {
    return refresh(renewal, record, record.refreshToken)
  }
  let tokenSet: Issued
  try {
    tokenSet = await issued(renewal)
  } catch (error) {
    if (!(error instanceof LoginRequiredError)) return fail(renewal, record, error)
    throw copy.unsaved && record.ended ? sessionEnded(record.ended.reason) : storageFailed(renewal, cause)
  }
  if (renewal.superseded()) return discard(renewal, tokenSet)
  copy.keep(told(succeeded({ ...record, refreshToken: undefined }, tokenKey, tokenSet), 'issued'))
  return usable(renewal)
}

async function ask(renewal: Renewal, record: SessionRecord): Promise<HeldToken> {
  let tokenSet: Issued
  try {
    tokenSet = await issued(renewal)
  } catch (error) {
    if (!(error instanceof LoginRequiredError)) return fail(renewal, record, error)
    const valid = [...renewal.copy.held.values()].some((held) => held.phase !== 'expired')
    if (valid || Object.keys(record.tokens).length === 0) throw record.ended ? sessionEnded(record.ended.reason) : error
    return end(renewal, record, 'expired', error)
  }
  return save(renewal, record, tokenSet, 'issued')
}

async function refresh(renewal: Renewal, before: SessionRecord, refreshToken: string): Promise<HeldToken> {
  const { client, request, own } = renewal
  // Many servers that rotate shrink the session for good when they are asked for less than it has.
  const { scope, resource } = request
  const otherScope = scope === own.request.scope ? undefined : scope
  const otherResource = String(resource) === String(own.request.resource) ? undefined : resource
  const parameters = tokenParameters({ scope: otherScope, resource: otherResource, parameters: request.parameters })
  if (otherScope !== undefined) {
    renewal.warn('A refresh asks for other scope than the session has: some servers keep it that narrow from then on')
  }
  parameters.set('refresh_token', refreshToken)
  // Whoever comes after a crash learns from the journal that this refresh token may be spent.
  const record = await write(renewal, { ...before, sending: before.sending ?? Date.now() })
  if (record === undefined) throw lostLease()
  let lost = before.sending !== undefined
  for (;;) {
    let sent = false
    const beforeSend = () => {
      assertMine(renewal)
      sent = true
    }
    let tokenSet: Issued
    try {
      tokenSet = await completed(() => client.tokenRequest('refresh_token', parameters, { beforeSend }))
      assertSameUser(record, tokenSet)
    } catch (error) {
      const { code } = error as OAuthError
      if (code === 'credentials-refused') return refused(renewal, record, error as OAuthError, lost)
      const noAnswer = sent && (code === 'network' || code === 'timeout')
      if (noAnswer && !lost) {
        lost = true // R11: once more with the same refresh token, for the answer may be all that was lost
        continue
      }
      const answered = !sent || error instanceof AuthorizationServerError || code === 'throttled'
      return fail(renewal, answered && !lost ? { ...record, sending: undefined } : record, error)
    }
    return save(renewal, record, tokenSet, 'renewed')
  }
}

/** R6: the server refused the refresh token. Is it still the newest? Can the grant ask again? Else it is over. */
async function refused(renewal: Renewal, record: SessionRecord, error: OAuthError, lost: boolean): Promise<HeldToken> {
  const { copy } = renewal
  if (!copy.unsaved) await copy.refresh()
  if (copy.record?.refreshToken !== record.refreshToken) throw lostLease()
  const rest = { ...record, refreshToken: undefined, sending: undefined }
  let tokenSet: Issued
  try {
    tokenSet = await issued(renewal)
  } catch (asked) {
    if (!(asked instanceof LoginRequiredError)) return fail(renewal, rest, asked)
    return end(renewal, record, lost ? 'rotation-lost' : 'refused', error)
  }
  return save(renewal, rest, tokenSet, 'issued')
}

async function issued({ grant, client, request }: Renewal): Promise<Issued> {
  const late = () => new TokenUnavailableError('timeout', 'The grant did not answer')
  const tokenSet = await completed(() => within(3 * client.timeout, late, async () => grant(client, request)))
  return { ...tokenSet, scope: tokenSet.scope ?? request.scope }
}
