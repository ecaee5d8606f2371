import { clientCredentials, clientSecretJwt, privateKeyJwt } from '@keyturn/core'
import { exportJWK, exportPKCS8, generateKeyPair } from 'jose'
import { expect, test } from 'vitest'
import { startWorld } from './world.ts'

test('a worker proves who it is by its private key, with a new assertion for every token', async () => {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const { issuer, orders } = await startWorld({ webKeys: [{ ...(await exportJWK(publicKey)), kid: 'of-the-worker' }] })
  const source = clientCredentials({
    issuer,
    clientId: 'worker-key-jwt',
    clientAuthentication: privateKeyJwt(await exportPKCS8(privateKey)),
    scope: 'api:read',
    resource: orders.url,
  })
  const first = await source.getAccessToken()
  expect(await source.getAccessToken({ rejectedToken: first })).not.toBe(first)
})

test('a worker proves who it is by a secret that never travels', async () => {
  const { issuer } = await startWorld()
  const options = { issuer, clientId: 'worker-secret-jwt', clientAuthentication: clientSecretJwt() }
  const source = clientCredentials({ ...options, clientSecret: 'a secret that signs, and never travels' })
  expect(await source.getAccessToken()).toBeTypeOf('string')
  const wrong = clientCredentials({ ...options, clientSecret: 'another secret that signs, and never travels' })
  await expect(wrong.getAccessToken()).rejects.toMatchObject({ code: 'client-refused', error: 'invalid_client' })
})
