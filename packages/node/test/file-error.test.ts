import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileStore, StoreError } from '@keyturn/node'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'
import { errorCode, fileError } from '../src/file-error.js'

let folder = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

const systemError = (code: unknown) => Object.assign(new Error('from the system'), { code })

test.each([
  ['a folder', 'EISDIR', /^Choose the path of a file/, () => mkdirSync(join(folder, 'it'))],
  ['in a file', 'ENOTDIR', /^Choose another path/, () => writeFileSync(join(folder, 'it'), '')],
  ['in a circle', 'ELOOP', /circle/, () => symlinkSync(join(folder, 'it'), join(folder, 'it'))],
  ['too long', 'ENAMETOOLONG', /^Choose a shorter path/, () => {}],
] as const)('a path that is %s is said so, with what to change', async (kind, code, fix, prepare) => {
  prepare()
  const end = kind === 'in a file' ? 'it/tokens.json' : kind === 'too long' ? 'x'.repeat(300) : 'it'
  const error = await fileStore(join(folder, end))
    .get('alice')
    .catch((reason: unknown) => reason)
  expect(error).toBeInstanceOf(StoreError)
  expect(error).toMatchObject({
    message: `The token file ${join(folder, end)} cannot be used (${code})`,
    retryable: false,
    fix: expect.stringMatching(fix),
    cause: { code },
  })
})

test.each([undefined, '', 7])('no path (%j) is said so at once, for it would be the current folder', (path) => {
  expect(() => fileStore(path as string)).toThrow(
    expect.objectContaining({ name: 'StoreError', retryable: false, fix: expect.stringMatching(/path/) }),
  )
})

test('a folder that cannot be made for a file stands in the way', async () => {
  writeFileSync(join(folder, 'it'), '')
  symlinkSync(join(folder, 'it'), join(folder, 'link'))
  const writing = fileStore(join(folder, 'link', 'tokens.json')).replace('alice', undefined, record(1))
  await expect(writing).rejects.toMatchObject({ retryable: false, fix: expect.stringMatching(/^Choose another path/) })
})

test.runIf(process.platform === 'linux')(
  'a file system that takes no folders fails, and stops nobody: neither who writes nor who watches',
  () => {
    const program = `
      const { clientCredentials, fileStore } = await import('@keyturn/node')
      const fetch = async () => Response.json({ access_token: 'it', token_type: 'Bearer' })
      const metadata = { token_endpoint: 'https://as.example/token' }
      const options = { issuer: 'https://as.example', clientId: 'c', discovery: false, metadata, fetch }
      const source = clientCredentials({ ...options, store: fileStore('/proc/keyturn/tokens.json') })
      source.subscribe(() => {})
      console.log(await source.getAccessToken())`
    const args = ['--input-type=module', '--eval', program]
    const { stdout, stderr } = spawnSync(process.execPath, args, { cwd: import.meta.dirname, timeout: 50_000 })
    expect(stdout.toString()).toBe('it\n')
    expect(stderr.toString()).toContain('the token store fails')
  },
  60_000,
)

test.each(['EACCES', 'EPERM', 'EROFS', 'EISDIR', 'ENOTDIR', 'EEXIST', 'ENAMETOOLONG', 'ELOOP'])(
  'what somebody has to change first is not tried again: %s',
  (code) => {
    const error = fileError(systemError(code), '/tokens.json')
    expect(error).toMatchObject({ retryable: false, fix: expect.stringMatching(/^(Let|Choose) .*\.$/) })
  },
)

test.each(['ENOSPC', 'EDQUOT'])('a disk that is full says what to do, and is tried again: %s', (code) => {
  expect(fileError(systemError(code), '/tokens.json')).toMatchObject({
    retryable: true,
    fix: expect.stringMatching(/^Free some space/),
  })
})

test.each(['EMFILE', 'EIO', 'EBUSY', 'ESTALE', 'ETIMEDOUT', 'ESOMETHING'])(
  'what may pass is tried again: %s',
  (code) => {
    const error = fileError(systemError(code), '/tokens.json')
    expect(error).toMatchObject({ message: `The token file /tokens.json cannot be used (${code})`, retryable: true })
    expect(error.fix).toBeUndefined()
  },
)

test('an error without a code is told all the same', () => {
  for (const thrown of [systemError(5), new Error('other'), 'text', undefined, null, { code: 'EACCES' }]) {
    expect(errorCode(thrown)).toBeUndefined()
    const error = fileError(thrown, '/tokens.json')
    expect(error).toMatchObject({ message: 'The token file /tokens.json cannot be used', retryable: true })
    expect(error.fix).toBeUndefined()
  }
})

test('an error that is told already stays as it is', () => {
  const error = new StoreError('The key is wrong', { retryable: false })
  expect(fileError(error, '/tokens.json')).toBe(error)
})
