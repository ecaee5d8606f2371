/** Milliseconds before which nobody wonders. */
const PATIENCE = 500

/**
 * Says what is waited for, where it takes longer than a moment. In a terminal the line goes away when the wait is over;
 * elsewhere it stays, and what the program prints itself goes to stdout anyway.
 */
export async function whileWaiting<T>(what: string, work: () => Promise<T>): Promise<T> {
  const { stderr } = process
  const isTerminal = stderr.isTTY === true && process.env.TERM !== 'dumb'
  let isShown = false
  const timer = setTimeout(() => {
    isShown = true
    stderr.write(isTerminal ? what : `${what}\n`)
  }, PATIENCE)
  try {
    return await work()
  } finally {
    clearTimeout(timer)
    if (isShown && isTerminal) stderr.write('\r\u001b[2K')
  }
}
