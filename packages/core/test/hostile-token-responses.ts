import { MALLORYS } from './hostile-world.ts'

const text = (body: BodyInit | null, init?: ResponseInit) => () => new Response(body, init)
const json = (body: unknown, init?: ResponseInit) => () => Response.json(body, init)
const changed = (members: object) => json({ ...MALLORYS, ...members })
const without = (name: string) => json({ ...MALLORYS, [name]: undefined })
const raw = JSON.stringify(MALLORYS)

const controls = ['\r\nx-evil: 1', '\n', '\r', '\0', '\x1b[31m', '\x7f', '\x80', ' ', '→', '\ud800']

/** Token responses that no client may take, each with what it is called. */
export const HOSTILE_TOKEN_RESPONSES: [string, () => Response][] = [
  ['a web page', text('<!doctype html><title>Log in</title>', { headers: { 'content-type': 'text/html' } })],
  ['nothing', text('')],
  ['spaces', text(' \n ')],
  ['204', text(null, { status: 204 })],
  ['JSON that is cut short', text(raw.slice(0, -1))],
  ['JSON with something after it', text(`${raw}x`)],
  ['two JSON values', text(raw + raw)],
  ['a form', text(new URLSearchParams(raw.slice(1, -1)).toString())],
  ['the right members in a list', json([MALLORYS])],
  ['the right members as text', json(raw)],
  ['a list of pairs', json(Object.entries(MALLORYS))],
  ['a number', json(42)],
  ['true', json(true)],
  ['null', json(null)],
  ['an empty object', json({})],
  ['bytes that are no text', text(new Uint8Array([0xff, 0xfe, 0x00, 0xd8]))],
  ['compressed nonsense', text(new Uint8Array(1000).fill(0x1f))],
  ['brackets without end', text('['.repeat(100_000))],
  ['more than a megabyte', text(`${' '.repeat(1_000_001)}${raw}`)],
  ['its members in a prototype', text(`{"__proto__":${raw}}`)],
  ['its members in a constructor', text(`{"constructor":{"prototype":${raw}}}`)],
  ...[null, 7, true, [], ['a'], {}, '', { toString: 'x' }].map((access_token): [string, () => Response] => [
    `access_token ${JSON.stringify(access_token)}`,
    changed({ access_token }),
  ]),
  ...controls
    .filter((end) => end !== ' ')
    .map((end): [string, () => Response] => [
      `an access token with ${JSON.stringify(end)}`,
      changed({ access_token: `access-token-of-mallory${end}` }),
    ]),
  ['no access token', without('access_token')],
  ['no token type', without('token_type')],
  ...[null, 7, [], ['Bearer'], {}, '', 'mac', 'N_A', 'Bearer ', 'bearer\n', 'Bearer, DPoP'].map(
    (token_type): [string, () => Response] => [`token_type ${JSON.stringify(token_type)}`, changed({ token_type })],
  ),
  ...['DPoP', 'dpop'].map((token_type): [string, () => Response] => [
    `token_type ${token_type}`,
    changed({ token_type }),
  ]),
  ...[301, 302, 303, 304, 307, 308, 300, 399].map((status): [string, () => Response] => [
    `a redirect ${status} with tokens in it`,
    status === 304
      ? text(null, { status })
      : text(raw, { status, headers: { location: 'https://evil.example/token' } }),
  ]),
  ...[400, 401, 402, 403, 404, 405, 418, 451].map((status): [string, () => Response] => [
    `${status} with tokens in it`,
    text(raw, { status }),
  ]),
  ['a challenge and nothing else', text('', { status: 401, headers: { 'www-authenticate': 'Basic' } })],
  ['a challenge of nonsense', text('', { status: 401, headers: { 'www-authenticate': '=,,"\\' } })],
  ['an error that is no text', json({ error: { code: 1 }, error_description: ['x'] }, { status: 400 })],
]

/** The same for answers that are an error response, with the code of the error that they become. */
export const HOSTILE_ERROR_RESPONSES: [string, () => Response, object][] = [
  ['an error beside tokens', changed({ error: 'access_denied' }), { code: 'request-refused', error: 'access_denied' }],
  [
    'an error whose description is an object',
    json({ error: 'invalid_scope', error_description: { toString: 1 } }, { status: 400 }),
    { code: 'request-refused', errorDescription: undefined },
  ],
  [
    'an error of a megabyte',
    json({ error: 'e'.repeat(900_000) }, { status: 400 }),
    { code: 'request-refused', error: 'e'.repeat(300) },
  ],
  ['an error named __proto__', json({ error: '__proto__' }, { status: 400 }), { code: 'request-refused' }],
  ['an error named constructor', json({ error: 'constructor' }, { status: 400 }), { code: 'request-refused' }],
]
