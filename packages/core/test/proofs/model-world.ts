import { memoryStore, type OAuthError } from '@keyturn/core'
import { CLIENT_ID, type Fault } from '../authorization-server.ts'
import { elapse, setClock } from '../renewal-harness.ts'
import { type Call, faults, Log, type Server, strictServer, type Tab } from './model-log.ts'
import {
  type Kind,
  type LockFault,
  openTab,
  type StoreFault,
  type StoreOperation,
  type Surroundings,
} from './model-tab.ts'

export type Step =
  | { do: 'get' | 'set'; tab: number; calls: number }
  | { do: 'reject'; tab: number; oldest: boolean }
  | { do: 'revoke' | 'signIn' | 'crash' | 'wake'; tab: number }
  | { do: 'open' | 'serverRevokes' }
  | { do: 'fault'; fault: keyof typeof faults }
  | { do: 'storeFails'; operations: StoreOperation[]; fault: StoreFault; times: number }
  | { do: 'lockFails'; fault: LockFault }
  | { do: 'elapse' | 'jump'; ms: number }

const MOST_TABS = 4

const noFaults = (): Record<StoreOperation, StoreFault[]> => ({ get: [], replace: [], answer: [] })

/** Several tabs on one store, and a strict server. */
export class World {
  readonly kind: Kind
  readonly server: Server
  readonly log: Log = new Log()
  readonly #tabs: Tab[] = []
  readonly #surroundings: Surroundings
  #faults: Fault[] = []
  #locks: LockFault[] = []
  #storeFaults = noFaults()

  constructor(kind: Kind, grace: number, bound: boolean, random: () => number) {
    this.kind = kind
    this.server = strictServer(grace)
    const { server, log } = this
    log.seededWith(server.newRefreshToken())
    this.#surroundings = {
      kind,
      bound,
      server,
      log,
      random,
      store: memoryStore(),
      nextFault: () => this.#faults.shift() ?? {},
      nextLock: () => this.#locks.shift(),
      nextStore: (operation) => {
        const fault = this.#storeFaults[operation].shift()
        // Several that are given up may take longer than a lease.
        if (fault === 'hangs' || fault === 'late') this.#storeFaults = noFaults()
        return fault
      },
    }
  }

  /** Whether nobody is signed in, as far as the store knows. */
  get isOver(): boolean {
    const { record } = this.log
    if (this.kind === 'authorizationCode') return record === undefined || record.ended !== undefined
    return this.kind === 'refreshToken' && record?.ended !== undefined
  }

  get living(): Tab[] {
    return this.#tabs.filter(({ crashed }) => !crashed)
  }

  open(): Tab {
    const tab = openTab(this.#surroundings)
    this.#tabs.push(tab)
    return tab
  }

  async run(step: Step): Promise<void> {
    const { living, log } = this
    const tab = 'tab' in step ? living[step.tab % living.length] : undefined
    if (tab) this.act(tab, step)
    else if (step.do === 'open' && living.length < MOST_TABS) this.open()
    else if (step.do === 'fault') this.#faults.push(faults[step.fault])
    else if (step.do === 'lockFails') this.#locks.push(step.fault)
    else if (step.do === 'storeFails')
      for (const operation of step.operations) this.#storeFaults[operation] = Array(step.times).fill(step.fault)
    else if (step.do === 'elapse') await this.elapse(step.ms)
    else if (step.do === 'jump') {
      await this.turns(1) // nobody sets a clock between a check and its answer
      log.jumps.push({ at: performance.now(), turn: log.turn, by: step.ms })
      setClock(step.ms)
    } else if (step.do === 'serverRevokes') await this.#serverRevokes()
  }

  act(tab: Tab, step: Step): void {
    const { source, got } = tab
    if (step.do === 'get') for (let n = 0; n < step.calls; n++) this.call(tab, source.getAccessToken())
    // Two tokens, of one refresh token.
    if (step.do === 'set')
      for (let n = 0; n < step.calls; n++) this.call(tab, source.getTokenSet(n % 2 ? { resource: 'urn:other' } : {}))
    if (step.do === 'reject') {
      const rejectedToken = got.at(step.oldest ? 0 : -1) ?? 'never issued'
      this.call(tab, source.getAccessToken({ rejectedToken }))
    }
    if (step.do === 'revoke' || step.do === 'signIn') {
      this.log.changes.push({ tab, at: performance.now(), turn: this.log.turn })
      if (step.do === 'revoke') tab.forgotten = [...got]
      this.call(tab, step.do === 'revoke' ? source.revoke() : tab.signIn())
    }
    if (step.do === 'wake') {
      this.log.wakes.push(performance.now())
      tab.wake()
    }
    if (step.do === 'crash') this.#crash(tab)
  }

  call(tab: Tab, promise: Promise<unknown>): Call {
    const { log } = this
    const call: Call = { tab, at: performance.now(), turn: log.turn, forgotten: tab.forgotten }
    const now = () => ({ at: performance.now(), wall: Date.now(), turn: log.turn })
    promise.then(
      (value) => {
        const token = typeof value === 'string' ? value : (value as { accessToken?: string } | undefined)?.accessToken
        call.settled = { ...now(), token }
        if (token !== undefined) tab.got.push(token)
      },
      (error: OAuthError) => {
        call.settled = { ...now(), error }
      },
    )
    log.calls.push(call)
    return call
  }

  /** Lets what is under way go on for a while, without a clock. */
  async turns(count: number): Promise<void> {
    for (let turn = 0; turn < count; turn++) {
      await new Promise((resolve) => setImmediate(resolve))
      this.log.turn++
    }
  }

  async elapse(ms: number): Promise<void> {
    const step = Math.max(ms / 60, 250)
    for (let left = ms; left > 0; left -= step) {
      await elapse(Math.min(step, left), step)
      this.log.turn += 2
    }
  }

  mend(): void {
    this.#faults = []
    this.#locks = []
    this.#storeFaults = noFaults()
  }

  async close(): Promise<void> {
    for (const { source } of this.#tabs) await source[Symbol.asyncDispose]()
  }

  /** Nothing of it happens any more, and what it was sent never arrives. */
  #crash(tab: Tab): void {
    tab.crashed = true
    void tab.source[Symbol.asyncDispose]()
    if (this.living.length === 0) this.open()
  }

  async #serverRevokes(): Promise<void> {
    const token = this.log.record?.refreshToken ?? ''
    const family = this.log.families.get(token)
    if (family === undefined) return
    this.log.revokedByServer.add(family)
    const body = new URLSearchParams({ token, client_id: CLIENT_ID })
    await this.server.fetch(`${this.server.issuer}/revoke`, { method: 'POST', body })
  }
}
