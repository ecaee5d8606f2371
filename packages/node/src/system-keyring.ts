import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { StoreError } from '@keyturn/core'
import type { AsyncEntry } from '@napi-rs/keyring'
import { withLock } from './file-lock.ts'

/** Where in the system's keyring a key is kept. */
export interface SystemKeyringOptions {
  /** Whose it is: the name of the program. */
  service: string
  /** Which of its keys it is; another one gives another key. Default: `token store`. */
  account?: string | undefined
}

const KEY_BYTES = 32
/** How long the first one may take to make a key, milliseconds: a person may have to unlock the keyring. */
const LEASE = 120_000

/**
 * The key of a store in the keyring of the person's system: macOS Keychain, Windows Credential Manager, or the Secret
 * Service on Linux (GNOME Keyring, KWallet). The first one who asks makes it, of 32 random bytes. Needs the package
 * `@napi-rs/keyring`, which is loaded when the key is first needed. Without the package or a keyring, what needed the key
 * rejects with a `StoreError`; nothing is stored in the clear or elsewhere instead.
 */
export function systemKeyring({ service, account = 'token store' }: SystemKeyringOptions): () => Promise<Uint8Array> {
  for (const [name, value] of Object.entries({ service, account })) {
    if (typeof value === 'string' && value !== '') continue
    throw new StoreError(`The ${name} of systemKeyring cannot be used`, { retryable: false, fix: `Set \`${name}\`.` })
  }
  return async () => {
    const entry = await entryOf(service, account)
    return (await keyIn(entry)) ?? withLock(lockOf(service, account), LEASE, (isOurs) => made(entry, isOurs))
  }
}

/** Two that make one at once would encrypt with different ones, of which the keyring keeps the last. */
async function made(entry: AsyncEntry, isOurs: () => boolean): Promise<Uint8Array> {
  const before = await keyIn(entry)
  if (before !== undefined) return before
  if (!isOurs()) throw new StoreError('The keyring took so long that another process makes the key')
  await asked(() => entry.setPassword(randomBytes(KEY_BYTES).toString('base64url')))
  // What it gives counts, not what it was given.
  const key = await keyIn(entry)
  if (key === undefined) throw noKeyring(new Error('It does not keep what it is given'))
  return key
}

async function keyIn(entry: AsyncEntry): Promise<Uint8Array | undefined> {
  const text = await asked(() => entry.getPassword())
  if (text === null || text === undefined) return undefined
  const key = Buffer.from(text, 'base64url')
  if (key.length === KEY_BYTES && key.toString('base64url') === text) return key
  throw new StoreError('What the keyring has under this service and account is not a key', {
    retryable: false,
    fix: 'Give `systemKeyring` another account, or remove the entry to start anew.',
  })
}

async function entryOf(service: string, account: string): Promise<AsyncEntry> {
  const { AsyncEntry } = await loaded()
  // Without this it falls back to the kernel's keyring, which forgets: no tokens would be readable at the next login.
  return asked(async () => new AsyncEntry(service, account, { linux: { store: 'secret-service' } }))
}

async function loaded(): Promise<typeof import('@napi-rs/keyring')> {
  try {
    return await import('@napi-rs/keyring')
  } catch (cause) {
    throw new StoreError('The package @napi-rs/keyring cannot be loaded', {
      cause,
      retryable: false,
      fix: 'Run `npm install @napi-rs/keyring`, or give `key` in another way.',
    })
  }
}

async function asked<T>(ask: () => Promise<T>): Promise<T> {
  try {
    return await ask()
  } catch (cause) {
    throw noKeyring(cause)
  }
}

function noKeyring(cause: unknown): StoreError {
  return new StoreError("The system's keyring cannot be used: there is none, or it is locked", {
    cause,
    retryable: false,
    fix: 'Unlock it (on Linux it is a Secret Service, such as GNOME Keyring, in a session with D-Bus), or give `key` in another way.',
  })
}

/** In a folder of this user's own, where the system has one. */
function lockOf(service: string, account: string): string {
  const { XDG_RUNTIME_DIR: own } = process.env
  const name = createHash('sha256')
    .update(JSON.stringify([service, account]))
    .digest('hex')
    .slice(0, 16)
  return join(own !== undefined && existsSync(own) ? own : tmpdir(), `keyturn-${process.getuid?.() ?? ''}-${name}.lock`)
}
