import { type AccessRules, VerificationError } from '@keyturn/node'
import { expect, test } from 'vitest'
import { rejection } from '../../../core/test/sign-in-server.ts'
import { call, claimsOf, now, signed, TokenServer } from './token-server.ts'

const verified = async (rules: AccessRules, claims: object = {}, more: AccessRules = {}) =>
  new TokenServer().verifier(rules).verify(call(`Bearer ${await signed(claimsOf({ ...claims }))}`), more)

test('a token with the scopes that are asked for is taken', async () => {
  expect(await verified({ scope: 'orders:read' })).toMatchObject({ sub: 'ada' })
  expect(await verified({ scope: 'profile orders:read' })).toMatchObject({ sub: 'ada' })
})

test.each(['orders:write', 'orders:read orders:write', 'orders', 'read'])(
  'a token without %s is refused',
  async (scope) => {
    const error = await rejection(verified({ scope }))
    expect(error).toBeInstanceOf(VerificationError)
    expect(error).toMatchObject({ code: 'insufficient-scope', status: 403 })
    const said = `Bearer error="insufficient_scope", error_description="The token lacks a scope", scope="${scope}"`
    expect((error as VerificationError).challenge).toBe(said)
  },
)

test('a scope that is no text grants nothing', async () => {
  for (const scope of [undefined, 7, ['orders:read'], '']) {
    expect(await rejection(verified({ scope: 'orders:read' }, { scope }))).toMatchObject({ status: 403 })
  }
})

test('a route asks for more than the API does, and the challenge names all of it', async () => {
  const error = await rejection(verified({ scope: 'orders:read' }, {}, { scope: 'orders:write' }))
  expect(error).toMatchObject({ challenge: expect.stringContaining('scope="orders:read orders:write"') })
  expect(await rejection(verified({ scope: 'admin' }, {}, { scope: 'profile' }))).toMatchObject({ status: 403 })
})

test('claims that the rule does not allow are forbidden, and no scope is told to help', async () => {
  const allows: AccessRules['allows'] = async ({ roles }) => [roles].flat().includes('clerk')
  expect(await verified({ allows }, { roles: ['clerk'] })).toMatchObject({ roles: ['clerk'] })
  expect(await rejection(verified({ scope: 'profile', allows }, { roles: [] }))).toMatchObject({
    code: 'insufficient-scope',
    status: 403,
    challenge: 'Bearer error="insufficient_scope", error_description="The token does not allow this"',
  })
  expect(await rejection(verified({}, {}, { allows }))).toMatchObject({ status: 403 })
})

test('a rule lets nobody in that answers something else than true, or throws', async () => {
  expect(await rejection(verified({ allows: () => 'yes' as never }))).toMatchObject({ status: 403 })
  const allows = () => Promise.reject(new Error('the database is away'))
  expect(await rejection(verified({ allows }))).toMatchObject({ status: 503, cause: { code: 'callback-failed' } })
})

test('a sign-in that was too weak or too long ago is to be done again', async () => {
  const acrValues = 'phr phrh'
  expect(await verified({ acrValues, maxAge: 60 }, { acr: 'phrh', auth_time: now() - 50 })).toMatchObject({
    sub: 'ada',
  })
  for (const claims of [{}, { acr: 'phr' }, { acr: 'phr', auth_time: now() - 70 }, { acr: 'pwd', auth_time: now() }]) {
    expect(await rejection(verified({ acrValues, maxAge: 60 }, claims))).toMatchObject({
      code: 'insufficient-authentication',
      status: 401,
      challenge:
        'Bearer error="insufficient_user_authentication", error_description="The person has to sign in again", acr_values="phr phrh", max_age="60"',
    })
  }
})

test('an API that takes tokens for nobody is refused', () => {
  for (const audience of ['', [], ['']]) {
    expect(() => new TokenServer().verifier({ audience })).toThrow(expect.objectContaining({ code: 'invalid-options' }))
  }
})

test.each<[string, object]>([
  ['scope', { scope: ['admin'] }],
  ['acrValues', { acrValues: ['phr'] }],
  ['maxAge', { maxAge: '60' }],
  ['maxAge', { maxAge: Number.NaN }],
  ['allows', { allows: 'clerk' }],
])('a %s of the wrong type is an error of the program, and lets nobody in: %o', async (name, rule) => {
  const wrong = expect.objectContaining({ code: 'invalid-options', message: `${name} cannot be used` })
  expect(() => new TokenServer().verifier(rule)).toThrow(wrong)
  expect(await rejection(verified({}, { auth_time: now() - 3600 }, rule))).toEqual(wrong)
})

test.each<[string, object]>([
  ['dpop', { dpop: true }],
  ['clockTolerance', { clockTolerance: Number.NaN }],
  ['clockTolerance', { clockTolerance: '5' }],
  ['introspectionLifetime', { introspectionLifetime: '30000' }],
])('a %s that cannot work is told at once: %o', (name, option) => {
  const wrong = expect.objectContaining({ code: 'invalid-options', message: `${name} cannot be used` })
  expect(() => new TokenServer().verifier(option)).toThrow(wrong)
})
