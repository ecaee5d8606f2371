import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { withKeyring } from '../../../scripts/keyring.mjs'

const script = fileURLToPath(new URL('processes/keyring-process.mjs', import.meta.url))

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** What a process says that writes to the store, or reads it. */
function said([file = '', ...parameters]: string[], env: NodeJS.ProcessEnv): unknown {
  const { stdout, stderr } = spawnSync(file, parameters, { env, encoding: 'utf8', timeout: 20_000 })
  if (stdout === '') throw new Error(`It said nothing: ${stderr}`)
  return JSON.parse(stdout)
}

/** GNOME's keyring, where this machine has it or can unpack it; else why not. */
function realKeyring(): string | undefined {
  if (process.platform !== 'linux') return 'only Linux has a keyring that a test can start'
  const folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  try {
    withKeyring(folder, [])
    return undefined
  } catch (error) {
    return `no GNOME keyring: ${error}`
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const why = realKeyring()
if (why) console.log(`The real keyring is not tested: ${why}`)

test.skipIf(why)(
  'what one process encrypts with the key in the real keyring another one reads',
  { timeout: 60_000 },
  () => {
    const folder = newFolder()
    const path = join(folder, 'tokens.json')
    for (const role of ['write', 'read']) {
      const { command, env } = withKeyring(folder, [process.execPath, script, role, path])
      expect(said(command, env)).toEqual({ format: 1, version: 1, tokens: {}, seed: 'kept in a file' })
    }
    expect(readFileSync(path, 'utf8')).not.toMatch(/kept in a file|alice/)
    // With the keyring of somebody else it is a wrong key.
    const { command, env } = withKeyring(newFolder(), [process.execPath, script, 'read', path])
    expect(said(command, env)).toMatchObject({
      name: 'StoreError',
      message: 'The token file is encrypted with another key',
    })
  },
)

test.skipIf(process.platform !== 'linux')('without a session that has a keyring, that is a typed error', () => {
  const folder = newFolder()
  const path = join(folder, 'tokens.json')
  const env = { ...process.env, DBUS_SESSION_BUS_ADDRESS: `unix:path=${folder}/none`, XDG_RUNTIME_DIR: folder }
  expect(said([process.execPath, script, 'write', path], env)).toEqual({
    name: 'StoreError',
    code: 'storage',
    message: "The system's keyring cannot be used: there is none, or it is locked",
    fix: 'string',
    retryable: false,
  })
  expect(existsSync(path)).toBe(false)
})
