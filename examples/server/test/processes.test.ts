import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Visitor } from './visitor.ts'
import { freePort, startWorld, type World } from './world.ts'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
let world: World
let folder = ''
let children: ChildProcess[] = []

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'keyturn-'))
  world = await startWorld()
})

afterEach(async () => {
  for (const child of children) await kill(child)
  children = []
  await world.stop()
  rmSync(folder, { recursive: true })
})

/** A process of the app, once it listens. */
async function start(environment: Record<string, string>): Promise<ChildProcess> {
  const env = {
    PATH: process.env.PATH,
    ISSUER: world.server.issuer,
    CLIENT_ID: 'web',
    CLIENT_SECRET: 'web-secret',
    SCOPE: 'openid profile offline_access api:read',
    API_URL: world.api,
    HOME_URL: `${world.origin}/`,
    PORT: `${world.port}`,
    SESSION_FILE: join(folder, 'sessions.json'),
    STORE_KEY: 'the key of the file',
    COOKIE_KEY: 'k'.repeat(32),
    ...environment,
  }
  const child = spawn(process.execPath, [main], { env, stdio: ['ignore', 'pipe', 'inherit'] })
  children.push(child)
  await Promise.race([
    once(child.stdout, 'data'),
    once(child, 'exit').then(() => Promise.reject(new Error('It ended'))),
  ])
  return child
}

async function kill(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

test('two processes, one in express and one in hono, have the same people; a kill, a restart and a new key sign nobody out', async () => {
  const express = await start({})
  const otherPort = `${await freePort()}`
  await start({ FRAMEWORK: 'hono', PORT: otherPort })

  const visitor = new Visitor(world.origin)
  expect(await visitor.signIn('ada', '/me')).toBe('/me')
  const other = new Visitor(`http://127.0.0.1:${otherPort}`, visitor.cookies)
  expect([await visitor.me(), await other.me()]).toEqual([
    expect.objectContaining({ sub: 'ada' }),
    expect.objectContaining({ sub: 'ada' }),
  ])

  await kill(express)
  await start({ COOKIE_KEY: `${'n'.repeat(32)} ${'k'.repeat(32)}` })
  expect(await visitor.me()).toMatchObject({ sub: 'ada' })

  const old = other.copy()
  await visitor.fetch('/logout', { method: 'POST' })
  await expect.poll(() => old.me()).toBe(303)
  const file = readFileSync(join(folder, 'sessions.json'), 'utf8')
  expect(Object.keys(Object(JSON.parse(file)).records)).toEqual([])
})
