import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, type TestContext, test } from 'vitest'
import { startScript } from './processes/start.ts'

/** A server that rotates refresh tokens, and answers the second request when it is told to. */
async function rotatingServer({ onTestFinished }: TestContext) {
  const sent: (string | null)[] = []
  const { promise: asked, resolve: ask } = Promise.withResolvers<ServerResponse>()
  const answer = (response: ServerResponse) => {
    const [nth] = [sent.length]
    const tokens = {
      access_token: `token ${nth}`,
      refresh_token: `refresh ${nth}`,
      token_type: 'Bearer',
      expires_in: 3600,
    }
    response.setHeader('content-type', 'application/json').end(JSON.stringify(tokens))
  }
  const server = createServer(async (request, response) => {
    sent.push(new URLSearchParams(await text(request)).get('refresh_token'))
    if (sent.length === 2) ask(response)
    else answer(response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.closeAllConnections())
  onTestFinished(() => void server.close())
  const folder = await mkdtemp(join(tmpdir(), 'keyturn-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  const origin = `http://127.0.0.1:${Object(server.address()).port}`
  return {
    sent,
    folder,
    path: join(folder, 'session.json'),
    origin,
    answerAsked: async () => answer(await asked),
    asked,
  }
}

function shutdown({ onTestFinished }: TestContext, parameters: readonly string[]) {
  const program = startScript('shutdown-process.mjs', parameters)
  onTestFinished(() => void program.signal('SIGKILL'))
  return program
}

describe.concurrent('a program with a file store that is told to end in the middle of a renewal', {
  timeout: 20_000,
}, () => {
  test.for(['once', 'on', 'prependOnceListener'])(
    'ends when it likes (%s): the renewal is finished and kept, no lock is left, nothing keeps it alive',
    async (listens, context) => {
      const { expect } = context
      const { sent, folder, path, origin, asked, answerAsked } = await rotatingServer(context)
      const program = shutdown(context, [origin, path, listens])
      expect(await program.next()).toBe('token 1')
      await asked
      expect(readdirSync(folder).some((name) => name.endsWith('.lock'))).toBe(true)
      program.signal('SIGTERM')
      expect(await program.next()).toBe('asked to end')
      await answerAsked()
      expect(await program.next()).toBe('token 2')
      expect(await program.exited).toBe(3)
      expect(sent).toEqual(['first', 'refresh 1'])
      expect(readFileSync(path, 'utf8')).toContain('refresh 2')
      expect(readdirSync(folder)).toEqual(['session.json'])
    },
  )

  test.for(['never', 'alone'])(
    'ends at once where nobody listens, or whoever does lets the signal through (%s)',
    async (listens, context) => {
      const { expect } = context
      const { folder, path, origin, asked } = await rotatingServer(context)
      const program = shutdown(context, [origin, path, listens])
      expect(await program.next()).toBe('token 1')
      await asked
      program.signal('SIGTERM')
      expect(await program.exited).toBe('SIGTERM')
      expect(existsSync(path)).toBe(true)
      // Nobody has to wait for the lease of a program that has ended by Ctrl-C.
      if (listens === 'never') expect(readdirSync(folder)).toEqual(['session.json'])
    },
  )
})
