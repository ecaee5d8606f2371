import type { RedisClient } from '@keyturn/node'
import { Redis } from 'ioredis'
import { Redis as Valkey } from 'iovalkey'
import { createClient } from 'redis'

export const clientNames = ['redis', 'ioredis', 'iovalkey'] as const
export type ClientName = (typeof clientNames)[number]

export interface Connected {
  readonly client: RedisClient
  /** Any command, as one would type it. */
  readonly command: (...words: string[]) => Promise<unknown>
  readonly close: () => void
}

/** A client as an app would make it; what it says of a lost connection is the app's to hear. */
export async function connect(name: ClientName, url: string): Promise<Connected> {
  if (name === 'redis') {
    const client = createClient({ url }).on('error', () => {})
    await client.connect()
    return { client, command: (...words) => client.sendCommand(words), close: () => client.destroy() }
  }
  const client = name === 'ioredis' ? new Redis(url) : new Valkey(url)
  client.on('error', () => {})
  return {
    client,
    command: (...[command = '', ...words]) => Promise.resolve(client.call(command, ...words)),
    close: () => client.disconnect(),
  }
}

/** A client before whose nth command from now on something else happens. */
export function interrupted({ client }: Connected, nth: number, happens: () => Promise<unknown>): RedisClient {
  if (!('call' in client)) throw new Error('This is for ioredis and iovalkey')
  let count = 0
  return {
    async call(...words) {
      if (++count === nth) await happens()
      return client.call(...words)
    },
  }
}
