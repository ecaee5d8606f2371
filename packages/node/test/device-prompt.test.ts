import { stripVTControlCharacters } from 'node:util'
import { type DevicePrompt, devicePrompt } from '@keyturn/node'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { scanned } from '../../../examples/cli/test/qr-codes.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'], now: new Date(2026, 1, 3, 9, 0) })
  vi.stubEnv('LANG', 'en_GB.UTF-8')
  vi.stubEnv('LC_ALL', '')
  vi.stubEnv('TERM', 'xterm')
  vi.stubEnv('NO_COLOR', '')
})

afterEach(() => {
  vi.useRealTimers()
  vi.unstubAllEnvs()
})

const complete = 'https://login.example.com/device?user_code=WDJB-MJHT'

/** Shows a prompt; gives all that was written so far, and the way to end the login. */
function shown({
  isTTY = true,
  columns = 80,
  ...more
}: Partial<DevicePrompt> & { isTTY?: boolean; columns?: number } = {}) {
  const screen = { text: '' }
  const login = new AbortController()
  const write = (text: string) => {
    screen.text += text
  }
  const prompt = {
    userCode: 'WDJB-MJHT',
    verificationUri: 'https://login.example.com/device',
    verificationUriComplete: complete,
    expiresAt: Date.now() + 600_000,
    ...more,
  }
  void devicePrompt({ output: { write, isTTY, columns } })(prompt, login.signal)
  return { screen, end: () => login.abort() }
}

const codeLines = (text: string) => text.split('\n').filter((line) => /[█▀▄]/.test(line))

test('address and code come first, each on a line of its own', () => {
  const { screen } = shown()
  const lines = screen.text.split('\n')
  expect(lines.slice(0, 8)).toEqual([
    'To sign in, open this address on any device:',
    '',
    '  https://login.example.com/device',
    '',
    expect.stringMatching(/^and type this code, which is good until .*9.*10.*:$/),
    '',
    '  WDJB-MJHT',
    '',
  ])
})

test('what a camera sees of the QR code is the address with the code in it', () => {
  const lines = codeLines(stripVTControlCharacters(shown().screen.text))
  expect(scanned(lines)).toBe(complete)
})

test('without colours the code is drawn for a dark terminal, and can be read', () => {
  vi.stubEnv('NO_COLOR', '1')
  const { text } = shown().screen
  expect(codeLines(text).join('')).not.toContain('\u001b')
  expect(scanned(codeLines(text), true)).toBe(complete)
})

test.each([
  ['the window is too narrow for it', { columns: 30 }],
  ['the server gives no address with the code', { verificationUriComplete: undefined }],
  ['that address is longer than a QR code can be', { verificationUriComplete: `${complete}&${'x'.repeat(3000)}` }],
])('there is no QR code where %s', (_, options) => {
  const { text } = shown(options).screen
  expect(codeLines(text)).toEqual([])
  expect(text).toContain('WDJB-MJHT')
})

test('there is no QR code where the terminal cannot draw it', () => {
  vi.stubEnv('LANG', 'C')
  expect(codeLines(shown().screen.text)).toEqual([])
})

test('no line is wider than the window, but for an address that is', () => {
  const lines = stripVTControlCharacters(shown({ columns: 60 }).screen.text).split(/[\n\r]/)
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(60)
})

test('into a pipe only the text is written, and nothing more while it waits', () => {
  const { screen, end } = shown({ isTTY: false })
  const first = screen.text
  expect(first).not.toMatch(/[^\x20-\x7e\n]/)
  vi.advanceTimersByTime(120_000)
  end()
  expect(screen.text).toBe(first)
})

test('a terminal that knows no commands gets the text alone, too', () => {
  vi.stubEnv('TERM', 'dumb')
  const { screen, end } = shown()
  vi.advanceTimersByTime(120_000)
  end()
  expect(screen.text).not.toMatch(/[^\x20-\x7e\n]/)
})

test('while it waits it says how long, seldom, and takes that away when the login is over', () => {
  const { screen, end } = shown()
  const waits = () => [...screen.text.matchAll(/Waiting for you to sign in: (.*?) left/g)].map(([, left]) => left)
  expect(waits()).toEqual(['10 minutes'])
  vi.advanceTimersByTime(59_000)
  expect(waits()).toEqual(['10 minutes'])
  vi.advanceTimersByTime(481_000)
  expect(waits().slice(-2)).toEqual(['2 minutes', '60 seconds'])
  vi.advanceTimersByTime(20_000)
  expect(waits().at(-1)).toBe('40 seconds')
  end()
  expect(screen.text.endsWith('\r\u001b[2K')).toBe(true)
  const last = screen.text
  vi.advanceTimersByTime(60_000)
  expect(screen.text).toBe(last)
  expect(vi.getTimerCount()).toBe(0)
})
