import { afterEach, expect, test, vi } from 'vitest'
import { rejection, startDevice } from './device-server.ts'

afterEach(() => {
  vi.useRealTimers()
})

test.each([
  ['no device code', { device_code: undefined }],
  ['no user code', { user_code: 7 }],
  ['no address', { verification_uri: undefined }],
  ['an address that is none', { verification_uri_complete: {} }],
])('a device authorization with %s is none', async (_, authorization) => {
  const { server, login, prompts } = startDevice()
  server.authorization = authorization
  expect(await rejection(login())).toMatchObject({ code: 'invalid-response' })
  expect(prompts).toEqual([])
})

test.each([null, ''])(
  'an address with the code in it that is %j is none, and the person types the code',
  async (address) => {
    const { server, login, prompts } = startDevice()
    server.authorization = { verification_uri_complete: address }
    await login()
    expect(prompts).toMatchObject([{ userCode: expect.stringMatching(/./), verificationUriComplete: undefined }])
  },
)

test.each(['javascript:alert(1)', 'http://login.example/go', 'https://bank.example@evil.example/'])(
  'nobody is sent to %s',
  async (address) => {
    for (const name of ['verification_uri', 'verification_uri_complete']) {
      const { server, login, prompts } = startDevice()
      server.authorization = { [name]: address }
      expect(await rejection(login())).toMatchObject({ code: 'insecure-url' })
      expect(prompts).toEqual([])
    }
  },
)

test('addresses of this machine, with fragment and under the name that Google uses are shown', async () => {
  for (const [members, shown] of [
    [{ verification_uri: 'http://127.0.0.1:3000/go' }, 'http://127.0.0.1:3000/go'],
    [{ verification_uri: 'https://x.example/start/#/device' }, 'https://x.example/start/#/device'],
    [{ verification_uri: undefined, verification_url: 'https://x.example/device' }, 'https://x.example/device'],
  ] as const) {
    const { server, login, prompts } = startDevice()
    server.authorization = members
    await login()
    expect(prompts[0]?.verificationUri).toBe(shown)
  }
})

test('what is shown cannot steer a terminal', async () => {
  const { server, login, prompts } = startDevice()
  server.authorization = { user_code: 'A\u001b[2J\nB', verification_uri: 'https://login.example/\u001b[2J' }
  await login()
  expect(JSON.stringify(prompts)).not.toMatch(/\\u001b|\\n/)
})
