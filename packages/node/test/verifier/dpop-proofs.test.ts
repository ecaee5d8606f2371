import { type DPoPNonces, dpopNonces } from '@keyturn/node'
import { afterEach, expect, test, vi } from 'vitest'
import { rejection } from '../../../core/test/sign-in-server.ts'
import { DPoPProofs } from '../../src/verifier/dpop-proofs.ts'
import { TokenChallenge } from '../../src/verifier/token-challenge.ts'
import { now, proof, proofKey, thumbprint } from './token-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

const later = (seconds: number) => vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + seconds * 1000 })
const challenge = new TokenChallenge({ isBound: false })
const proven = {
  method: 'GET',
  url: new URL('https://api.example/orders'),
  thumbprint: await thumbprint(proofKey),
}

/** Remembers ten proofs. */
function forgetful(nonces?: DPoPNonces) {
  const proofs = new DPoPProofs(nonces, 5, 10)
  return (dpop: string) => proofs.take({ scheme: 'DPoP', token: 'token', isJwt: false, proof: dpop }, proven, challenge)
}

test('of more proofs than are remembered none is taken twice: old ones are refused, new ones are not', async () => {
  const take = forgetful()
  const first = await proof('token')
  const unused = await proof('token')
  await take(first)
  later(100)
  for (let count = 0; count < 10; count++) await take(await proof('token'))
  expect(await rejection(take(first))).toMatchObject({ code: 'invalid-proof', status: 401 })
  expect(await rejection(take(unused))).toMatchObject({ code: 'invalid-proof' })
  later(1)
  await take(await proof('token'))
  await take(await proof('token', { iat: now() - 29 }))
})

test('with nonces who comes with an old one is given another', async () => {
  const nonces = dpopNonces()
  const take = forgetful(nonces)
  const first = await proof('token', { nonce: await nonces.issue() })
  await take(first)
  later(100)
  const nonce = await nonces.issue()
  for (let count = 0; count < 10; count++) await take(await proof('token', { nonce }))
  expect(await rejection(take(first))).toMatchObject({ code: 'nonce-required', headers: { 'dpop-nonce': nonce } })
  await take(await proof('token', { nonce }))
})

test('whoever makes many proofs of the future, or of now, shuts nobody else out', async () => {
  for (const ahead of [290, 0]) {
    const take = forgetful()
    for (let count = 0; count < 30; count++) await take(await proof('token', { iat: now() + ahead }))
    await take(await proof('token', { iat: now() - 25 }))
  }
})
