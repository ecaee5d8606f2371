import type { DeviceLogin, DevicePrompt } from '@keyturn/core'
import { terminalQrCode } from './terminal-qr-code.ts'

/** Where a prompt is written: a terminal, or anything else that takes text. */
export interface PromptOutput {
  write(text: string): unknown
  readonly isTTY?: boolean | undefined
  /** Characters in a line. Default, and where a terminal does not know: 80. */
  readonly columns?: number | undefined
}

/** Where `devicePrompt` writes. */
export interface DevicePromptOptions {
  /** Default: `process.stderr`, so that what the program prints itself can go elsewhere. */
  output?: PromptOutput | undefined
}

/** Milliseconds between two looks at how much time is left. */
const LOOK = 1000
/** Back to the beginning of the line, which is emptied. */
const EMPTY_LINE = '\r\u001b[2K'

/**
 * Shows a device login (RFC 8628 section 3.3) to the person at this terminal: address and code as text, then a QR code of
 * both where the server gives that and the window is wide enough, then how long the code is good, until the login is
 * over. Where nobody watches (a file, a pipe) it is the text alone, without colours. `onPrompt: devicePrompt()`.
 */
export function devicePrompt({ output = process.stderr }: DevicePromptOptions = {}): DeviceLogin['onPrompt'] {
  return (prompt, over) => {
    const isTerminal = output.isTTY === true && process.env.TERM !== 'dumb'
    output.write(textOf(prompt))
    if (!isTerminal) return
    const code = qrCodeOf(prompt, output.columns || 80)
    if (code) output.write(`\nOr scan this:\n\n${code.join('\n')}\n\n`)
    waitAt(output, prompt.expiresAt, over)
  }
}

/** What matters comes first and on lines of its own: it is read aloud, copied, and typed elsewhere. */
function textOf({ verificationUri, userCode, expiresAt }: DevicePrompt): string {
  const until = new Date(expiresAt).toLocaleTimeString()
  return `To sign in, open this address on any device:

  ${verificationUri}

and type this code, which is good until ${until}:

  ${userCode}
`
}

function qrCodeOf({ verificationUriComplete }: DevicePrompt, columns: number): string[] | undefined {
  const { env, platform } = process
  const locale = env.LC_ALL || env.LC_CTYPE || env.LANG || ''
  // Elsewhere than in UTF-8 the blocks that draw it would be nonsense.
  if (verificationUriComplete === undefined || !(platform === 'win32' || /utf-?8/i.test(locale))) return undefined
  return terminalQrCode(verificationUriComplete, columns, !env.NO_COLOR)
}

/** One line that says how much time is left. It changes seldom, for some have every change read aloud. */
function waitAt(output: PromptOutput, expiresAt: number, over: AbortSignal): void {
  if (over.aborted) return
  let shown = ''
  const look = () => {
    const line = `Waiting for you to sign in: ${timeLeft(expiresAt - Date.now())} left`
    if (line === shown) return
    shown = line
    output.write(`${EMPTY_LINE}${line}`)
  }
  const timer = setInterval(look, LOOK)
  timer.unref()
  const end = () => {
    clearInterval(timer)
    output.write(EMPTY_LINE)
  }
  over.addEventListener('abort', end, { once: true })
  look()
}

function timeLeft(milliseconds: number): string {
  const seconds = Math.max(Math.ceil(milliseconds / 10_000) * 10, 0)
  if (seconds <= 60) return `${seconds} seconds`
  return `${Math.ceil(seconds / 60)} minutes`
}
