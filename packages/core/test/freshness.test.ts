import { memoryStore, password } from '@keyturn/core'
import { expect, test } from 'vitest'
import { testAuthorizationServer, USER } from './authorization-server.ts'
import { elapse, movedTime, SECOND, sourceAt } from './renewal-harness.ts'

movedTime()

test('a session that was refused here is fresh again when a sibling has renewed it', async () => {
  const server = testAuthorizationServer({ lifetime: 60 })
  const store = memoryStore()
  let secret = String(server.settings.secret)
  const start = (clientSecret: () => string) =>
    password({ ...sourceAt(server, { store, clientSecret }).options, ...USER })
  const here = start(() => secret)
  const sibling = start(() => String(server.settings.secret))
  here.subscribe(() => {})
  await here.getAccessToken()
  secret = 'wrong'
  await elapse(62 * SECOND)
  await expect(here.getAccessToken()).rejects.toMatchObject({ code: 'client-refused' })
  expect(here.session).toMatchObject({ status: 'signedIn', freshness: 'stale' })
  const token = await sibling.getAccessToken()
  await elapse(SECOND)
  expect(here.session).toMatchObject({ status: 'signedIn', freshness: 'fresh' })
  expect(await here.getAccessToken()).toBe(token)
})
