import { accessTokenVerifier, auditedVerifier, VerificationError } from '@keyturn/node'
import { expect, test } from 'vitest'
import { heardEvents } from './heard-events.ts'

const options = {
  issuer: 'https://login.example.com',
  audience: 'https://api.example.com/',
  discovery: false as const,
  metadata: { jwks_uri: 'https://login.example.com/jwks' },
}

test('a request that is refused is told with why, and nothing that it brought', async () => {
  const heard = heardEvents()
  const verifier = auditedVerifier(accessTokenVerifier(options))
  const headers = new Headers({ authorization: 'Bearer hello-from-outside' })
  const request = { method: 'GET', url: 'https://api.example.com/people/7?code=abc', headers }
  await expect(verifier.verify(request, { scope: 'orders:write' })).rejects.toBeInstanceOf(VerificationError)
  expect(heard).toEqual([
    {
      name: 'keyturn:verification:refused',
      event: {
        at: expect.any(Number),
        code: 'invalid-token',
        status: 401,
        scope: 'orders:write',
        duration: expect.any(Number),
      },
    },
  ])
  expect(JSON.stringify(heard)).not.toMatch(/outside|people|abc/)
})

test('what is good is passed on, with everything else that the verifier can', async () => {
  const heard = heardEvents()
  const verifier = auditedVerifier({
    verify: async (request: { name: string }) => ({ sub: request.name }),
    ready: () => 'warm',
  })
  expect(await verifier.verify({ name: 'ada' })).toEqual({ sub: 'ada' })
  expect(verifier.ready()).toBe('warm')
  expect(heard).toEqual([])
})

test('a mistake of the program is no refusal', async () => {
  const heard = heardEvents()
  const mistaken = async (_request: string) => {
    throw new TypeError('undefined is not a function')
  }
  await expect(auditedVerifier({ verify: mistaken }).verify('x')).rejects.toBeInstanceOf(TypeError)
  expect(heard).toEqual([])
})
