import { type Challenge, challengeOf } from '@keyturn/core'
import fc from 'fast-check'
import { expect, test } from 'vitest'

function read(status: number, ...headers: string[]): Partial<Challenge> | undefined {
  const response = new Response(null, { status })
  for (const header of headers) response.headers.append('www-authenticate', header)
  const challenge = challengeOf(response)
  return challenge && Object.fromEntries(Object.entries(challenge).filter(([, value]) => value !== undefined))
}

const scope = (name: string, scheme: string | undefined = 'bearer') => ({
  ...(scheme !== undefined && { scheme }),
  error: 'insufficient_scope',
  scope: name,
})

test('more scope: the example of RFC 6750, and what it says besides', () => {
  const header =
    'Bearer realm="example", error="insufficient_scope", error_description="needs more", scope="orders:write orders:read"'
  expect(read(403, header)).toEqual({
    error: 'insufficient_scope',
    scheme: 'bearer',
    realm: 'example',
    errorDescription: 'needs more',
    scope: 'orders:write orders:read',
  })
})

test('another authentication: the examples of RFC 9470', () => {
  const acr = `Bearer error="insufficient_user_authentication",
    error_description="A different authentication level is required", acr_values="myACR"`.replace(/\n\s*/, ' ')
  expect(read(401, acr)).toEqual({
    error: 'insufficient_user_authentication',
    scheme: 'bearer',
    errorDescription: 'A different authentication level is required',
    acrValues: 'myACR',
  })
  const age = 'Bearer error="insufficient_user_authentication", error_description="More recent", max_age="5"'
  expect(read(401, age)).toMatchObject({ maxAge: 5, errorDescription: 'More recent' })
})

test('another token: the example of RFC 9728, with where the metadata is said to be', () => {
  const where = 'https://resource.example.com/.well-known/oauth-protected-resource'
  expect(read(401, `Bearer error="invalid_token", resource_metadata="${where}"`)).toEqual({
    error: 'invalid_token',
    scheme: 'bearer',
    resourceMetadata: where,
  })
})

test.each<[string, string[], string | undefined]>([
  ['after another scheme', ['Basic realm="x", Bearer error="insufficient_scope", scope="a"'], 'bearer'],
  ['before another scheme', ['Bearer error="insufficient_scope", scope="a", Basic realm="x"'], 'bearer'],
  ['in a header of its own', ['Basic realm="x"', 'Bearer error="insufficient_scope", scope="a"'], 'bearer'],
  ['after token68', ['Negotiate YII/+a==, Bearer error="insufficient_scope", scope="a"'], 'bearer'],
  ['after a scheme alone', ['NTLM, Negotiate, Bearer error="insufficient_scope", scope="a"'], 'bearer'],
  [
    'after ours without an error',
    ['Bearer realm="x", DPoP algs="ES256", error="insufficient_scope", scope="a"'],
    'dpop',
  ],
  ['after a scheme that nobody knows', ['X-Own a="1", b, Bearer error="insufficient_scope", scope="a"'], 'bearer'],
  ['without a scheme', ['error="insufficient_scope", scope="a"'], undefined],
  ['in capitals', ['BEARER ERROR="insufficient_scope", Scope="a"'], 'bearer'],
  ['without quotes', ['Bearer error=insufficient_scope, scope=a'], 'bearer'],
  ['with odd whitespace', ['  ,, Bearer \t error = "insufficient_scope" ,,\tscope\t=\t"a" , '], 'bearer'],
  ['without commas', ['Bearer error="insufficient_scope" scope="a"'], 'bearer'],
  [
    'with commas and escapes in quotes',
    ['Bearer realm="a, \\"Basic\\" b=\\\\", error="insufficient_scope", scope="\\a"'],
    'bearer',
  ],
  ['with a quote that never ends', ['Bearer error="insufficient_scope", scope="a'], 'bearer'],
  [
    'said twice, first ours',
    ['Bearer error="insufficient_scope", scope="a", scope="b", error="invalid_token"'],
    'bearer',
  ],
  ['among what is no parameter', ['Bearer @, error="insufficient_scope", =, scope="a", "x"'], 'bearer'],
])('a challenge is read %s', (_, headers, scheme) => {
  const { error, scheme: read_, scope } = read(403, ...headers) ?? {}
  expect({ error, scheme: read_, scope }).toEqual({ error: 'insufficient_scope', scheme, scope: 'a' })
})

test('scopes without their quotes are all read', () => {
  expect(read(403, 'Bearer scope=a b c, error=insufficient_scope')).toEqual(scope('a b c'))
})

test.each([
  'Basic error="insufficient_scope"',
  'Bearer',
  'Bearer realm="error=insufficient_scope"',
  'Bearer error="invalid_request"',
  'Bearer error="use_dpop_nonce"',
  'Bearer error_description="insufficient_scope"',
  'Bearer token68==, Basic error="insufficient_scope"',
  'BearerX error="insufficient_scope"',
  '',
  '"',
  '=',
])('%s says nothing of what is missing', (header) => {
  expect(read(401, header)).toBeUndefined()
})

test('only a 401 or a 403 is a challenge', () => {
  for (const status of [200, 400, 404, 407, 500]) {
    expect(read(status, 'Bearer error="insufficient_scope"')).toBeUndefined()
  }
  expect(read(401, 'Bearer error="insufficient_scope", scope="a"')).toEqual(scope('a'))
})

test('an age that is no number of seconds is none', () => {
  for (const age of ['', '-1', '1.5', 'abc', '1e9', '9'.repeat(400), 'Infinity']) {
    expect(read(401, `Bearer error="insufficient_user_authentication", max_age="${age}"`)?.maxAge).toBeUndefined()
  }
  expect(read(401, 'Bearer error="insufficient_user_authentication", max_age=0')?.maxAge).toBe(0)
})

test('names that objects have by themselves are parameters like any other', () => {
  expect(read(403, 'Bearer __proto__="x", constructor="y", error="insufficient_scope", scope="a"')).toEqual(scope('a'))
})

/** Characters that may be in a header, most often those that mean something here. */
const character = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...'",=\\ \t;()', 'Bearer ', 'error=', '"insufficient_scope"', 'a') },
  { weight: 1, arbitrary: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)) },
)

test('whatever is sent, nothing is thrown', () => {
  fc.assert(
    fc.property(fc.array(character, { maxLength: 60 }), (characters) => {
      read(401, characters.join('').replace(/\x7f/g, ''))
    }),
    { numRuns: 5000 },
  )
})

test('a challenge that is well formed is read as it was written, whatever stands around it', () => {
  const token = fc.stringMatching(/^[a-z]{1,8}$/).filter((name) => !/^(error|scope|bearer|dpop)/.test(name))
  const text = fc
    .array(fc.integer({ min: 0x20, max: 0x7e }).map((code) => String.fromCharCode(code)))
    .map((all) => all.join(''))
  const quote = (value: string) => `"${value.replace(/["\\]/g, '\\$&')}"`
  const parameter = fc.tuple(token, text).map(([name, value]) => `${name}=${quote(value)}`)
  const other = fc.oneof(
    fc.tuple(token, fc.array(parameter, { minLength: 1 })).map(([scheme, all]) => `${scheme} ${all.join(', ')}`),
    token,
    token.map((scheme) => `${scheme} YWJj/+==`),
  )
  fc.assert(
    fc.property(fc.array(other), text, fc.array(parameter), fc.array(other), (before, description, more, after) => {
      const ours = ['error="insufficient_scope"', `error_description=${quote(description)}`, ...more].join(' , ')
      const found = read(403, [...before, `Bearer ${ours}`, ...after].join(', '))
      expect(found).toMatchObject({ error: 'insufficient_scope', scheme: 'bearer', errorDescription: description })
    }),
    { numRuns: 2000 },
  )
})

test('a hostile header of a megabyte is done with at once', () => {
  const hostile = [
    '"',
    '\\',
    '"\\',
    '\\"',
    '=',
    'a=',
    'a ',
    'a="',
    'a,',
    '= ',
    'a=a ',
    '" ',
    'a==',
    ' ,',
    'Bearer ',
    '\\"a',
  ]
  for (const piece of hostile) {
    const response = new Response(null, { status: 401, headers: { 'www-authenticate': `x${piece.repeat(400_000)}x` } })
    const start = process.cpuUsage()
    challengeOf(response)
    expect(process.cpuUsage(start).user / 1000, piece).toBeLessThan(1000)
  }
})
