import {
  type Claims,
  type DeviceCodeFlow,
  type DeviceLogin,
  deviceCode,
  OAuthError,
  type SourceOptions,
  type StandardSchemaV1,
} from '@keyturn/core'
import { storedSession } from './stored-session.ts'

/** What `deviceLogin` needs besides what all sources take. */
export interface DeviceLoginOptions extends SourceOptions, DeviceLogin {}

/**
 * Signs a person in to a program that has no browser (RFC 8628): with the session that the store has, else on another
 * device, at the address and with the code that `onPrompt` shows. Polls as the server says, through failures that pass.
 * Rejects with an `OAuthError`: `authorization-refused`, `timeout` where the code expires before, and with all that a
 * token request rejects with. To sign in as somebody else, `revoke()` the session first, or give another `sessionKey`.
 */
export function deviceLogin<C extends object>(
  options: DeviceLoginOptions & { claims: StandardSchemaV1<unknown, C> },
): Promise<DeviceCodeFlow<Claims & C>>
export function deviceLogin(options: DeviceLoginOptions): Promise<DeviceCodeFlow>
export async function deviceLogin({ onPrompt, signal, ...options }: DeviceLoginOptions): Promise<DeviceCodeFlow> {
  if (typeof onPrompt !== 'function') {
    throw new OAuthError('invalid-options', 'onPrompt is missing', { fix: 'Show the person address and code there.' })
  }
  signal?.throwIfAborted()
  const stored = await storedSession(deviceCode(options), signal)
  if (stored) return stored
  const flow = deviceCode(options)
  try {
    await flow.login({ onPrompt, signal })
    return flow
  } catch (error) {
    await flow[Symbol.asyncDispose]()
    throw error
  }
}
