import { authenticatedFetch, LoginRequiredError, type TokenSource } from '@keyturn/core'
import { expect, test } from 'vitest'
import { CountingSource } from './counting-source.ts'

const API = 'https://api.example/'

/** A fetch that answers as told, by turns, and remembers what it was sent, as it was. */
function recorder(...answers: (() => Response)[]) {
  const sent: { url: string; proof: string | null; token: string | null; body: string }[] = []
  const recording: typeof fetch = async (input, init) => {
    const request = new Request(input, init)
    const { url, headers } = request
    sent.push({ url, proof: headers.get('dpop'), token: headers.get('authorization'), body: await request.text() })
    return (answers[Math.min(sent.length, answers.length) - 1] ?? fine)()
  }
  const proofs = () => sent.map(({ token, proof }) => `${token} ${proof}`)
  return { sent, proofs, fetch: recording }
}

const fine = () => new Response('fine')
const refusal = (challenge: string) => () =>
  new Response('no', { status: 401, headers: { 'www-authenticate': challenge } })
const wantsNonce = refusal('DPoP error="use_dpop_nonce"')
const refusesToken = refusal('DPoP error="invalid_token"')

/** Signs with the nonce that it has observed last; every refused token is followed by another. */
function signer() {
  const observed: string[] = []
  let [token, nonce] = [1, 0]
  const source: TokenSource = {
    getAccessToken: () => Promise.reject(new Error('not asked')),
    authorize: async ({ rejectedToken }) => {
      if (rejectedToken === `t${token}`) token++
      return { accessToken: `t${token}`, headers: { authorization: `DPoP t${token}`, dpop: `nonce-${nonce}` } }
    },
    observe: ({ url, response }) => {
      observed.push(`${response.status} ${url}`)
      nonce++
      return /use_dpop_nonce/.test(response.headers.get('www-authenticate') ?? '')
    },
  }
  return { source, observed }
}

test('a source that signs hears of every answer to what it signed, and of no other', async () => {
  const { source, observed } = signer()
  const api = authenticatedFetch(source, { apis: API, fetch: recorder().fetch })
  await api(`${API}a?b#c`)
  await api('https://other.example/')
  await api(API, { headers: { authorization: 'Basic own' } })
  expect(observed).toEqual([`200 ${API}a?b#c`])
})

test('a proof that is refused is made anew once, for the same token and the same bytes', async () => {
  const { fetch, sent, proofs } = recorder(wantsNonce, fine)
  const api = authenticatedFetch(signer().source, { apis: API, fetch })
  expect((await api(API, { method: 'POST', body: 'bytes' })).status).toBe(200)
  expect(proofs()).toEqual(['DPoP t1 nonce-0', 'DPoP t1 nonce-1'])
  expect(sent.map(({ body }) => body)).toEqual(['bytes', 'bytes'])
})

test('a proof made anew does not spend the one retry of a refused token', async () => {
  const { fetch, proofs } = recorder(wantsNonce, refusesToken, fine)
  expect((await authenticatedFetch(signer().source, { apis: API, fetch })(API)).status).toBe(200)
  expect(proofs()).toEqual(['DPoP t1 nonce-0', 'DPoP t1 nonce-1', 'DPoP t2 nonce-2'])
})

test('a proof is made anew also where the token was refused first', async () => {
  const { fetch, proofs } = recorder(refusesToken, wantsNonce, fine)
  expect((await authenticatedFetch(signer().source, { apis: API, fetch })(API)).status).toBe(200)
  expect(proofs()).toEqual(['DPoP t1 nonce-0', 'DPoP t2 nonce-1', 'DPoP t2 nonce-2'])
})

test('a proof is made anew for each token: nonces end while a person is asked, and while a token is renewed', async () => {
  const wantsMore = refusal('DPoP error="insufficient_user_authentication"')
  const { fetch, proofs } = recorder(wantsNonce, refusesToken, wantsNonce, wantsMore, wantsNonce, fine)
  const stepUp = async () => ({ scope: 'more' })
  expect((await authenticatedFetch(signer().source, { apis: API, fetch, stepUp })(API)).status).toBe(200)
  expect(proofs().map((proof) => proof.replace('DPoP ', ''))).toEqual([
    't1 nonce-0',
    't1 nonce-1',
    't2 nonce-2',
    't2 nonce-3',
    't2 nonce-4',
    't2 nonce-5',
  ])
})

test('an API that refuses every proof is asked twice, and buys no renewal', async () => {
  const { fetch, proofs } = recorder(wantsNonce)
  expect((await authenticatedFetch(signer().source, { apis: API, fetch })(API)).status).toBe(401)
  expect(proofs()).toEqual(['DPoP t1 nonce-0', 'DPoP t1 nonce-1'])
})

test('the refusal of a proof is the answer where the body is a stream, or nothing can be signed any more', async () => {
  const stream = { method: 'POST', body: new Blob(['once']).stream(), duplex: 'half' } as RequestInit
  const first = recorder(wantsNonce)
  const api = authenticatedFetch(signer().source, { apis: API, fetch: first.fetch })
  expect(await (await api(API, stream)).text()).toBe('no')
  expect(first.sent.map(({ body }) => body)).toEqual(['once'])

  const { source } = signer()
  const { authorize } = source
  let asked = 0
  source.authorize = async (request) => {
    if (asked++ > 0) throw new LoginRequiredError('session-ended', 'over')
    return authorize?.(request) ?? { accessToken: '', headers: {} }
  }
  const second = recorder(wantsNonce)
  expect(await (await authenticatedFetch(source, { apis: API, fetch: second.fetch })(API)).text()).toBe('no')
})

test('a source that signs is asked for each attempt, with method and URL, and its headers are sent', async () => {
  const asked: unknown[] = []
  const source: TokenSource = {
    getAccessToken: () => Promise.reject(new Error('not asked')),
    authorize: async ({ method, url, rejectedToken }) => {
      asked.push({ method, url, rejectedToken })
      return {
        accessToken: `t${asked.length}`,
        headers: { authorization: `DPoP t${asked.length}`, dpop: `p${asked.length}` },
      }
    },
  }
  const { fetch, sent } = recorder(refusesToken, fine)
  await authenticatedFetch(source, { apis: API, fetch })(`${API}a?b=c`, { method: 'post', body: 'x' })
  expect(asked).toEqual([
    { method: 'POST', url: `${API}a?b=c`, rejectedToken: undefined },
    { method: 'POST', url: `${API}a?b=c`, rejectedToken: 't1' },
  ])
  expect(sent.map(({ token, proof }) => [token, proof])).toEqual([
    ['DPoP t1', 'p1'],
    ['DPoP t2', 'p2'],
  ])
})

test('a challenge about the person or the proof says nothing against the token: the answer is returned', async () => {
  for (const error of ['insufficient_user_authentication', 'use_dpop_nonce', 'invalid_dpop_proof']) {
    const { fetch, sent } = recorder(refusal(`DPoP error="${error}"`))
    const source = new CountingSource()
    expect((await authenticatedFetch(source, { apis: API, fetch })(API)).status).toBe(401)
    expect([sent.length, source.refusals]).toEqual([1, 0])
  }
})

test('a hostile challenge holds nothing up', async () => {
  for (const piece of ['\\', '"', '\\"', '"\\', ' ', 'a ', 'a=', ',']) {
    const { fetch } = recorder(refusal(`x"${piece.repeat(30_000)}`))
    const start = process.cpuUsage()
    await authenticatedFetch(new CountingSource(), { apis: API, fetch })(API)
    expect(process.cpuUsage(start).user / 1000, piece).toBeLessThan(1000)
  }
})

test('a refusal whose realm or description only looks like one about the person or the proof is about the token', async () => {
  for (const text of ['realm="the_user_api"', 'error="invalid_token", error_description="a_dpop_key is gone"']) {
    const { fetch, sent } = recorder(refusal(`Bearer ${text}`), fine)
    const api = authenticatedFetch(new CountingSource(), { apis: API, fetch })
    expect((await api(API)).status).toBe(200)
    expect(sent.map(({ token }) => token)).toEqual(['Bearer token-1', 'Bearer token-2'])
  }
})
