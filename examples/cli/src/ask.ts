import { createInterface } from 'node:readline'
import { Writable } from 'node:stream'

/** Asks for a user name and a password, of which nothing is shown. Undefined where the person gives up. */
export async function askCredentials(username?: string): Promise<{ username: string; password: string } | undefined> {
  const { stdin, stderr } = process
  let hidden = false
  const echo = new Writable({
    write(chunk, _encoding, done) {
      if (!hidden) stderr.write(chunk)
      done()
    },
  })
  const terminal = createInterface({ input: stdin, output: echo, terminal: stdin.isTTY === true })
  const lines = terminal[Symbol.asyncIterator]()
  const ask = async (question: string): Promise<string | undefined> => {
    stderr.write(question)
    const { value, done } = await lines.next()
    return done ? undefined : value
  }
  try {
    const name = username ?? (await ask('User name: '))
    hidden = true
    const password = name && (await ask('Password: '))
    stderr.write('\n')
    return name && password ? { username: name, password } : undefined
  } finally {
    terminal.close()
  }
}
