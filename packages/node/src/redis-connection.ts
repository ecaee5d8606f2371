import { StoreError } from '@keyturn/core'

/** The caller's own client: of `ioredis` or `iovalkey` (one server, Sentinel, or a Cluster) … */
export interface CallingClient {
  call(command: string, ...parameters: string[]): Promise<unknown>
}

/** … or of `redis` (a client, a pool, a Sentinel or a cluster), connected by the caller. */
export interface EvaluatingClient {
  eval(script: string, options: { keys: string[]; arguments: string[] }): Promise<unknown>
}

/** A client of Redis, or of what speaks its protocol, such as Valkey. */
export type RedisClient = CallingClient | EvaluatingClient

/** How long Redis may take to answer, milliseconds: less than the 5 s after which a manager gives a store up. */
const TIMEOUT = 2_000
/** The same where it has not answered before, so that nobody waits for the same silence again and again. */
const TIMEOUT_IN_SILENCE = 200

const FIXES: Readonly<Record<string, string>> = {
  NOAUTH: 'Give the client of Redis its user name and password.',
  WRONGPASS: 'Give the client of Redis its right user name and password.',
  NOPERM: 'Let the user of Redis run EVAL and what the store needs: GET, SET, DEL, TYPE, HMGET, HSET, RENAME, PEXPIRE.',
  OOM: 'Give Redis more memory, or `maxmemory-policy noeviction` and a look at what fills it.',
  READONLY: 'Connect the client to the primary: this is a replica.',
  ClientClosedError: 'Call connect() on the client of Redis, and close it after the last use of the store.',
}

/** Runs scripts on the caller's client, and gives up what takes too long: clients queue for ever while they reconnect. */
export class RedisConnection {
  readonly #evaluate: (script: string, keys: string[], parameters: string[]) => Promise<unknown>
  #silent = false

  constructor(client: RedisClient) {
    this.#evaluate = evaluatorOf(client)
  }

  /**
   * What the script returns; rejects with a `StoreError`. The client may still deliver what was given up, and a connection
   * may break with the answer: `happened` is called where the script has run though this rejected, or may have. A script
   * only names keys of one slot, and goes to the primary, where what was written is seen.
   */
  async run(script: string, keys: string[], parameters: string[], happened?: () => void): Promise<unknown> {
    const limit = this.#silent ? TIMEOUT_IN_SILENCE : TIMEOUT
    let timer: ReturnType<typeof setTimeout> | undefined
    let givenUp = false
    let settled = false
    const silence = new Promise<never>((_, reject) => {
      const giveUp = () => {
        if (settled) return
        givenUp = true
        this.#silent = true
        reject(new StoreError(`Redis did not answer within ${limit} ms`))
      }
      // Where it was this process that was busy, the answer is there and has yet to be read.
      timer = setTimeout(() => setImmediate(giveUp), limit)
    })
    const answer = async () => {
      try {
        const reply = await this.#evaluate(script, keys, parameters)
        this.#silent = false
        if (givenUp) happened?.()
        return reply
      } catch (error) {
        happened?.()
        throw redisError(error)
      }
    }
    try {
      return await Promise.race([answer(), silence])
    } finally {
      settled = true
      clearTimeout(timer)
    }
  }
}

function evaluatorOf(client: RedisClient): (script: string, keys: string[], parameters: string[]) => Promise<unknown> {
  if (calls(client)) {
    return (script, keys, parameters) => client.call('EVAL', script, String(keys.length), ...keys, ...parameters)
  }
  if (evaluates(client)) {
    return (script, keys, parameters) => client.eval(script, { keys, arguments: parameters })
  }
  throw new StoreError('What was given to redisStore is no client of Redis', {
    retryable: false,
    fix: 'Give it a client of redis, ioredis or iovalkey.',
  })
}

function calls(client: RedisClient): client is CallingClient {
  return typeof Object(client).call === 'function'
}

function evaluates(client: RedisClient): client is EvaluatingClient {
  return typeof Object(client).eval === 'function'
}

/** What Redis or its client said: the first word only, for the rest may hold what was stored. */
function redisError(error: unknown): StoreError {
  const { name, message, code, constructor: kind } = Object(error)
  const [said] = /^[A-Z]{3,}(?= )/.exec(String(message)) ?? []
  const why = [said, code, name, kind?.name].find((word) => typeof word === 'string' && word !== 'Error')
  const fix = FIXES[String(why)]
  return new StoreError(`Redis cannot be used${why === undefined ? '' : ` (${why})`}`, {
    cause: new Error(String(why ?? 'unknown')),
    fix,
  })
}
