// Verified access tokens per second: the verifier beside jose alone (a local key set) and express-oauth2-jwt-bearer. Every
// token is verified anew, signature and all: nobody here keeps what was verified.
import { once } from 'node:events'
import { createServer } from 'node:http'
import { accessTokenVerifier } from '@keyturn/node'
import { auth } from 'express-oauth2-jwt-bearer'
import { createLocalJWKSet, exportJWK, generateKeyPair, jwtVerify, SignJWT } from 'jose'

const audience = 'https://api.example.com/'
const TOKENS = 64

/** Milliseconds per token, of each contender and round: all tokens at once, short rounds by turns. */
async function inTurns(contenders, tokens, rounds) {
  const times = contenders.map(() => [])
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < contenders.length; turn++) {
      const i = (turn + round) % contenders.length
      const { prepare, verify } = contenders[i]
      const requests = tokens.map(prepare)
      const start = performance.now()
      await Promise.all(requests.map(verify))
      times[i].push((performance.now() - start) / tokens.length)
    }
  }
  return times
}

const median = (numbers) => numbers.toSorted((one, other) => one - other)[numbers.length >> 1]

/** As Node makes it, with the headers that a browser's fetch sends; by then their texts are there. */
function requestWith(token) {
  const authorization = Buffer.from(`Bearer ${token}`).toString()
  const headers = {
    host: 'api.example.com',
    connection: 'keep-alive',
    authorization,
    accept: '*/*',
    'accept-language': 'en',
    'sec-fetch-mode': 'cors',
    'user-agent': 'bench',
    'accept-encoding': 'gzip, deflate',
  }
  // What express adds.
  const added = { is: () => false, get: (name) => headers[name.toLowerCase()], protocol: 'https', query: {} }
  return { method: 'GET', url: '/orders?page=2', headers, rawHeaders: Object.entries(headers).flat(), ...added }
}

/** One row for each algorithm. */
export async function verifierRows(rounds = 200) {
  const rows = {}
  for (const alg of ['ES256', 'RS256']) {
    const { privateKey, publicKey } = await generateKeyPair(alg)
    const jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: 'k', alg, use: 'sig' }] }
    let issuer = ''
    const server = createServer((request, response) => {
      response.setHeader('content-type', 'application/json')
      response.end(JSON.stringify(request.url === '/keys' ? jwks : { issuer, jwks_uri: `${issuer}/keys` }))
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    issuer = `http://127.0.0.1:${server.address().port}`
    const signed = (jti) =>
      new SignJWT({ sub: 'ada', client_id: 'app', jti: `${jti}`, scope: 'orders:read orders:write' })
        .setProtectedHeader({ alg, kid: 'k', typ: 'at+jwt' })
        .setIssuer(issuer)
        .setAudience(audience)
        .setIssuedAt()
        .setExpirationTime('1h')
        .sign(privateKey)
    const tokens = await Promise.all(Array.from({ length: TOKENS }, (_, i) => signed(i)))
    const keys = createLocalJWKSet(jwks)
    const verifier = accessTokenVerifier({ issuer, audience })
    const middleware = auth({ issuer, audience, jwksUri: `${issuer}/keys`, tokenSigningAlg: alg })
    const wanted = { issuer, audience, typ: 'at+jwt', algorithms: [alg] }
    const contenders = [
      { prepare: requestWith, verify: (request) => verifier.verify(request) },
      { prepare: (token) => token, verify: (token) => jwtVerify(token, keys, wanted) },
      {
        prepare: requestWith,
        verify: (request) =>
          new Promise((resolve, reject) => {
            middleware(request, {}, (error) => (error ? reject(error) : resolve()))
          }),
      },
    ]
    await inTurns(contenders, tokens, rounds / 4) // warm
    const [own, jose, express] = await inTurns(contenders, tokens, rounds)
    server.close()
    server.closeAllConnections()
    const ratio = (other) => `${median(other.map((time, round) => time / own[round])).toFixed(2)} ×`
    rows[alg] = {
      'tokens per second': Math.round(1000 / median(own)),
      'of jose alone': ratio(jose),
      'of express-oauth2-jwt-bearer': ratio(express),
    }
  }
  return rows
}

if (import.meta.url === `file://${process.argv[1]}`) console.table(await verifierRows())
