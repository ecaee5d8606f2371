import { existsSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { fileStore } from '@keyturn/node'
import { expect, type TestContext, test } from 'vitest'
import { record } from '../../core/test/token-store-contract.ts'
import { start } from './processes/start.ts'

/** How many processes are killed at random; the long form is KEYTURN_KILLS=1000. */
const KILLS = Number(process.env.KEYTURN_KILLS ?? 24)

async function newFile({ onTestFinished }: TestContext) {
  const folder = await mkdtemp(join(tmpdir(), 'keyturn-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return join(folder, 'tokens.json')
}

/** What it says until it ends, line by line. */
async function said(child: ReturnType<typeof start>): Promise<string[]> {
  const lines: string[] = []
  for (let line = await child.next(); line !== undefined; line = await child.next()) lines.push(line)
  return lines
}

/** As if the lease of whoever was killed had passed. */
function withoutLock(path: string): void {
  for (const lock of [`${path}.lock`, `${path}.lock.door`]) if (existsSync(lock)) utimesSync(lock, 1, 1)
}

/** The version that is in the file now; fails where that is not a whole record. */
async function versionIn(path: string): Promise<number> {
  const found = await fileStore(path).get('alice')
  expect(found).toEqual({ format: 1, version: expect.any(Number), tokens: {}, seed: expect.stringMatching(/^x+$|^a$/) })
  return found?.version ?? Number.NaN
}

test.concurrent('whichever step of a write a process dies before, the record is the old one or the new one', async (context) => {
  const path = await newFile(context)
  await fileStore(path).replace('alice', undefined, record(1))
  const outcomes: string[] = []
  for (let before = 1, step = 1, written = false; !written; step++) {
    const child = start('dieWriting', [path, step])
    const lines = await said(child)
    written = lines.includes('written')
    expect([lines[0], await child.exited]).toEqual([`${before + 1}`, written ? 0 : 'SIGKILL'])
    const after = await versionIn(path)
    expect([before + 1, before + 2]).toContain(after)
    outcomes.push(after === before + 1 ? 'old' : 'new')
    before = after
    withoutLock(path)
  }
  expect(outcomes.join(' ')).toMatch(/^(old )+(new )+new$/)
  expect(existsSync(`${path}.damaged`)).toBe(false)
}, 180_000)

test.concurrent('whichever step of healing a damaged file a process dies before, what was damaged is still to be had', async (context) => {
  const path = await newFile(context)
  for (let step = 1, written = false; !written; step++) {
    writeFileSync(path, 'garbage')
    const child = start('dieHealing', [path, step])
    written = (await said(child)).includes('written')
    if (readFileSync(path, 'utf8') !== 'garbage') {
      expect(await versionIn(path)).toBe(1)
      expect(readFileSync(`${path}.damaged`, 'utf8')).toBe('garbage')
    }
    withoutLock(path)
    rmSync(`${path}.damaged`, { force: true })
  }
}, 180_000)

test.concurrent(
  `${KILLS} processes that are killed at random while they write leave what they wrote last, or what they were writing`,
  async (context) => {
    const path = await newFile(context)
    await fileStore(path).replace('alice', undefined, record(1))
    let before = 1
    for (let kill = 0; kill < KILLS; kill++) {
      const child = start('writeOn', [path])
      expect(await child.next()).toBe(`${before + 1}`)
      const rest = said(child)
      await wait(Math.random() * 25)
      child.signal('SIGKILL')
      const last = Number((await rest).at(-1) ?? before + 1)
      const after = await versionIn(path)
      expect([last, last + 1]).toContain(after)
      before = after
      withoutLock(path)
    }
    expect(existsSync(`${path}.damaged`)).toBe(false)
  },
  KILLS * 6_000,
)
