import { type AccessTokenProfile, auth0, cognito, entraId, keycloak, okta } from '@keyturn/node'
import { expect, test } from 'vitest'
import { rejection } from '../../../core/test/sign-in-server.ts'
import { AUDIENCE, bound, call, ISSUER, now, proof, signed, TokenServer } from './token-server.ts'

type Claims = Record<string, unknown>

/** Tokens as the server's documentation shows them, for an API that is the client as well: the worst case. */
interface Provider {
  profile: AccessTokenProfile | undefined
  /** `typ` in the header; null: none. */
  typ: string | null
  audience: string
  accessToken: Claims
  idToken: Claims
  /** Of `accessToken`, as RFC 9068 names them. */
  client: string
  scope: string | undefined
}

const times = () => ({ iss: ISSUER, iat: now(), nbf: now(), exp: now() + 300 })
const text = { sub: 'ada', jti: 'jti-1' }

const providers: Record<string, Provider> = {
  Auth0: {
    profile: auth0(),
    typ: 'JWT',
    audience: AUDIENCE,
    accessToken: {
      sub: 'auth0|1',
      aud: [AUDIENCE, 'https://tenant.example/userinfo'],
      azp: 'spa',
      scope: 'openid read:orders',
      permissions: ['read:orders'],
    },
    idToken: { sub: 'auth0|1', aud: AUDIENCE, azp: AUDIENCE, sid: 's', name: 'Ada' },
    client: 'spa',
    scope: 'openid read:orders',
  },
  'Entra ID 2.0': {
    profile: entraId(),
    typ: 'JWT',
    audience: AUDIENCE,
    accessToken: {
      ...text,
      jti: undefined,
      aud: AUDIENCE,
      azp: AUDIENCE,
      azpacr: '0',
      scp: 'read write',
      tid: 't',
      ver: '2.0',
    },
    idToken: { sub: 'ada', aud: AUDIENCE, oid: 'o', tid: 't', roles: ['clerk'], ver: '2.0', name: 'Ada' },
    client: AUDIENCE,
    scope: 'read write',
  },
  'Entra ID 1.0': {
    profile: entraId(),
    typ: 'JWT',
    audience: AUDIENCE,
    accessToken: { sub: 'ada', aud: AUDIENCE, appid: 'app', appidacr: '1', scp: 'read', tid: 't', ver: '1.0' },
    idToken: { sub: 'ada', aud: AUDIENCE, oid: 'o', tid: 't', roles: ['clerk'], ver: '1.0', unique_name: 'ada' },
    client: 'app',
    scope: 'read',
  },
  Cognito: {
    profile: cognito(),
    typ: null,
    audience: 'app-client',
    accessToken: {
      ...text,
      client_id: 'app-client',
      token_use: 'access',
      scope: 'orders/read',
      version: 2,
      username: 'ada',
    },
    idToken: { ...text, aud: 'app-client', client_id: 'app-client', token_use: 'id', 'cognito:username': 'ada' },
    client: 'app-client',
    scope: 'orders/read',
  },
  Okta: {
    profile: okta(),
    typ: null,
    audience: AUDIENCE,
    accessToken: { ...text, jti: 'AT.1', ver: 1, aud: AUDIENCE, cid: 'app', uid: 'u', scp: ['openid', 'orders'] },
    idToken: { ...text, jti: 'ID.1', ver: 1, aud: AUDIENCE, cid: AUDIENCE, scp: ['openid'], amr: ['pwd'], idp: 'i' },
    client: 'app',
    scope: 'openid orders',
  },
  Keycloak: {
    profile: keycloak(),
    typ: 'JWT',
    audience: AUDIENCE,
    accessToken: {
      ...text,
      typ: 'Bearer',
      aud: [AUDIENCE, 'account'],
      azp: 'app',
      scope: 'openid email',
      realm_access: { roles: ['clerk'] },
    },
    idToken: { ...text, typ: 'ID', aud: AUDIENCE, azp: AUDIENCE, sid: 's' },
    client: 'app',
    scope: 'openid email',
  },
}

const all = Object.entries(providers)

const headerOf = (typ: string | null) => ({ typ: typ ?? (undefined as never) })

function verified({ profile, audience, ...provider }: Provider, claims: Claims, typ = provider.typ) {
  const verifier = new TokenServer().verifier({ profile, audience })
  const header = headerOf(typ)
  return signed({ ...times(), ...claims }, header).then((token) => verifier.verify(call(`Bearer ${token}`)))
}

const refused = async (...given: Parameters<typeof verified>) => {
  expect(await rejection(verified(...given)), JSON.stringify(given[1])).toMatchObject({
    code: 'invalid-token',
    status: 401,
  })
}

test.each(all)('%s: an access token is taken, and its claims have the names of RFC 9068', async (_, provider) => {
  const { accessToken, client, scope } = provider
  const claims = await verified(provider, accessToken)
  expect(claims).toMatchObject({ sub: accessToken.sub, client_id: client, scope })
})

test.each(all)('%s: an ID token is no access token, even where the API is its audience', async (_, provider) => {
  await refused(provider, provider.idToken)
  for (const more of [{ nonce: 'n' }, { at_hash: 'h' }, { c_hash: 'h' }]) {
    await refused(provider, { ...provider.idToken, ...more })
  }
})

test.each(all)('%s: an ID token by any other type is none either', async (_, provider) => {
  for (const typ of [null, 'JWT', 'at+jwt', 'id+jwt', 'logout+jwt']) await refused(provider, provider.idToken, typ)
})

test.each(all)('%s: an access token with the marks of an ID token is none', async (name, provider) => {
  await refused(provider, { ...provider.accessToken, at_hash: 'h' })
  if (name !== 'Keycloak') await refused(provider, { ...provider.accessToken, nonce: 'n' }) // Keycloak put it there for long
})

test.each(all)('%s: without the profile its access tokens are refused', async (_, provider) => {
  await refused({ ...provider, profile: undefined }, provider.accessToken)
})

test.each(all)('%s: what RFC 9068 asks for holds as ever', async (_, provider) => {
  const { accessToken } = provider
  const changes: Claims[] = [
    { iss: 'https://evil.example' },
    { exp: now() - 10 },
    { exp: undefined },
    { iat: undefined },
    { iat: now() + 60 },
    { nbf: now() + 60 },
    { sub: undefined },
    { sub: '' },
    { aud: 'https://other.example/' },
    { cnf: { 'x5t#S256': 'a' } },
  ]
  for (const change of changes) await refused(provider, { ...accessToken, ...change })
})

test.each(all)('%s: a token that names no client, or no API, is refused', async (_, provider) => {
  const nobody = { azp: undefined, appid: undefined, cid: undefined, client_id: undefined }
  await refused(provider, { ...provider.accessToken, ...nobody })
  await refused(provider, { ...provider.accessToken, ...nobody, azp: '', cid: 7, client_id: ['app-client'] })
  if (provider.accessToken.aud !== undefined) await refused(provider, { ...provider.accessToken, aud: undefined })
})

test.each(all)('%s: logout tokens, proofs and tokens of other types are no access tokens', async (_, provider) => {
  for (const typ of ['logout+jwt', 'dpop+jwt', 'JOSE', '']) await refused(provider, provider.accessToken, typ)
})

test.each(all)('%s: a claim that only looks like scopes or client grants nothing', async (name, provider) => {
  if (name === 'Cognito' || name === 'Auth0' || name === 'Keycloak') {
    const { scope, ...others } = provider.accessToken
    const claims = await verified(provider, {
      ...others,
      scp: 'admin',
      client_id: name === 'Cognito' ? 'app-client' : 'evil',
    })
    expect(claims.scope).toBeUndefined()
    expect(claims.client_id).toBe(provider.client)
  } else {
    const claims = await verified(provider, { ...provider.accessToken, scope: 'admin', client_id: 'evil' })
    expect(claims).toMatchObject({ scope: provider.scope, client_id: provider.client })
  }
})

test.each(all)('%s: a token that is bound to a key needs its proof', async (_, provider) => {
  const { cnf } = JSON.parse(Buffer.from(`${(await bound()).split('.')[1]}`, 'base64url').toString())
  const typ = provider.accessToken.typ === 'Bearer' ? { typ: 'DPoP' } : {}
  const header = headerOf(provider.typ)
  const token = await signed({ ...times(), ...provider.accessToken, ...typ, cnf }, header)
  const { profile, audience } = provider
  const verifier = new TokenServer().verifier({ profile, audience })
  expect(await verifier.verify(call(`DPoP ${token}`, { dpop: await proof(token) }))).toMatchObject({ cnf })
  expect(await rejection(verifier.verify(call(`Bearer ${token}`)))).toMatchObject({ code: 'invalid-token' })
})

test('Entra ID: an app of its own has roles or none, and never a version that is not known', async () => {
  const provider = providers['Entra ID 2.0'] as Provider
  const { scp, ...app } = provider.accessToken
  expect(await verified(provider, { ...app, roles: ['Orders.Read'] })).toMatchObject({ roles: ['Orders.Read'] })
  expect(await verified(provider, { ...app, idtyp: 'app' })).not.toHaveProperty('scope')
  await refused(provider, app)
  await refused(provider, { ...app, roles: [] })
  await refused(provider, { ...app, scp, ver: '3.0' })
  await refused(provider, { ...app, scp, ver: '1.0' }) // which names its client by appid
  await refused(provider, { ...app, scp, ver: undefined })
})

test('Auth0: a machine has the same token, with no scope where none was granted', async () => {
  const provider = providers.Auth0 as Provider
  const machine = { sub: 'worker@clients', aud: AUDIENCE, azp: 'worker', gty: 'client-credentials' }
  expect(await verified(provider, machine)).toMatchObject({ client_id: 'worker' })
})

test('Cognito: a token for a resource is for nobody else, and the client does not stand for it', async () => {
  const provider = providers.Cognito as Provider
  await refused(provider, { ...provider.accessToken, aud: 'https://other.example/' })
  await refused(provider, { ...provider.accessToken, client_id: 'another' })
  await refused(provider, { ...provider.accessToken, token_use: 'id' })
  await refused(provider, { ...provider.accessToken, token_use: undefined })
  const forApi = { ...provider, audience: AUDIENCE }
  expect(await verified(forApi, { ...provider.accessToken, aud: AUDIENCE })).toMatchObject({ client_id: 'app-client' })
})

test('Okta: scopes are a list of words', async () => {
  const provider = providers.Okta as Provider
  const scp = ['orders', 'a b', '', 7, 'ä']
  expect((await verified(provider, { ...provider.accessToken, scp })).scope).toBe('orders 7 ä')
  await refused(provider, { ...provider.accessToken, scp: 'orders' })
})

test('Keycloak: only its own types of access tokens are some, under either header', async () => {
  const provider = providers.Keycloak as Provider
  expect(await verified(provider, provider.accessToken, 'at+jwt')).toMatchObject({ client_id: 'app' })
  for (const typ of ['ID', 'Refresh', 'Offline', 'Logout', undefined]) {
    await refused(provider, { ...provider.accessToken, typ })
  }
})

test.each<[string, string, (claims: Claims) => boolean]>([
  ['Keycloak', 'realm_access', ({ realm_access: realm }) => Object(realm).roles?.includes('clerk') === true],
  ['Auth0', 'permissions', ({ permissions }) => [permissions].flat().includes('read:orders')],
])('%s: roles are a rule in a line', async (name, claim, allows) => {
  const provider = providers[name] as Provider
  const { profile, audience, accessToken, typ } = provider
  const verifier = new TokenServer().verifier({ profile, audience, allows })
  const sent = async (claims: Claims) => call(`Bearer ${await signed({ ...times(), ...claims }, headerOf(typ))}`)
  expect(await verifier.verify(await sent(accessToken))).toMatchObject({ sub: accessToken.sub })
  for (const value of [undefined, { roles: ['cook'] }, ['cook'], 'clerks']) {
    const request = await sent({ ...accessToken, [claim]: value })
    expect(await rejection(verifier.verify(request))).toMatchObject({ status: 403 })
  }
})
