// What tests in a page ask of the process that runs them: other tabs, and an authorization server.
import type { CDPSession, Page } from 'playwright'
import type { BrowserCommand } from 'vitest/node'
import type { AuthorizationServer } from '../../../examples/playground/src/authorization-server.ts'
import { type ConnectionServer, startConnectionServer } from '../../core/test/connection-server.ts'
import { type Recorded, type RecordingServers, startRecordingServers } from '../../core/test/recording-servers.ts'

declare global {
  var actions: Record<string, (...args: unknown[]) => unknown>
}

/** A session where the browser has the debugger for it. */
const tabs = new Map<number, { page: Page; session: CDPSession | undefined }>()
let opened = 0

const openTab: BrowserCommand<[]> = async ({ context, page: tests }) => {
  const tab = ++opened
  const page = await context.newPage()
  await page.goto(new URL('/tab.html', tests.url()).href)
  await page.waitForFunction(() => globalThis.actions !== undefined)
  const chromium = tests.context().browser()?.browserType().name() === 'chromium'
  tabs.set(tab, { page, session: chromium ? await context.newCDPSession(page) : undefined })
  return tab
}

const tell: BrowserCommand<[tab: number, action: string, args: unknown[]]> = (_context, tab, action, args) =>
  tabs.get(tab)?.page.evaluate(([name, given]) => globalThis.actions[name]?.(...given), [action, args] as const)

/** A headless browser does not freeze pages that nobody looks at; its debugger stops every task of one just so. */
const freeze: BrowserCommand<[tab: number]> = async (_context, tab) => {
  const { page, session } = tabs.get(tab) ?? {}
  await session?.send('Debugger.enable')
  const paused = new Promise((resolve) => session?.once('Debugger.paused', resolve))
  await page?.evaluate(() => void setInterval(() => {}, 10))
  await session?.send('Debugger.pause')
  await paused
}

const thaw: BrowserCommand<[tab: number]> = async (_context, tab) => tabs.get(tab)?.session?.send('Debugger.disable')

const closeTab: BrowserCommand<[tab: number]> = async (_context, tab) => {
  await tabs.get(tab)?.page.close()
  tabs.delete(tab)
}

const closeTabs: BrowserCommand<[]> = async () => {
  for (const { page } of tabs.values()) await page.close()
  tabs.clear()
}

/** As "clear site data" does. */
const clearDatabases: BrowserCommand<[]> = async ({ context, page }) => {
  const session = await context.newCDPSession(page)
  await session.send('Storage.clearDataForOrigin', { origin: new URL(page.url()).origin, storageTypes: 'indexeddb' })
}

let server: AuthorizationServer | undefined

/** An authorization server for the tests' pages; resolves with its issuer. */
const startServer: BrowserCommand<[accessTokenTTL: number]> = async ({ page }, accessTokenTTL) => {
  const { startAuthorizationServer } = await import('../../../examples/playground/src/authorization-server.ts')
  await server?.stop()
  server = await startAuthorizationServer({
    host: 'localhost',
    accessTokenTTL,
    apis: ['https://api.example/'],
    spaOrigins: [new URL(page.url()).origin],
  })
  return server.issuer
}

const stopServer: BrowserCommand<[]> = async () => server?.stop()

/** Goes through the login pages; resolves with where they lead in the end. */
const signIn: BrowserCommand<[authorizationUrl: string]> = async (_context, authorizationUrl) => {
  const { signInOverHttp } = await import('../../../examples/playground/src/sign-in-over-http.ts')
  return signInOverHttp(authorizationUrl, { username: 'ada', password: 'lovelace' })
}

const reuses: BrowserCommand<[]> = () => server?.reuses

let recording: RecordingServers | undefined

/** Resolves with the ports of two servers that write down what they are sent. */
const startRecording: BrowserCommand<[]> = async () => {
  recording = await startRecordingServers()
  return recording.ports
}

/** What they have been sent since the last time. */
const recorded: BrowserCommand<[]> = () => recording?.requests.splice(0)

const stopRecording: BrowserCommand<[]> = () => recording?.close()

let connectionServer: ConnectionServer | undefined

/** Resolves with the host of a server for long-lived connections. */
const startConnections: BrowserCommand<[]> = async () => {
  connectionServer = await startConnectionServer()
  return connectionServer.host
}

/** What it has been sent since the last time. */
const connections: BrowserCommand<[]> = () => connectionServer?.requests.splice(0)

const stopConnections: BrowserCommand<[]> = () => connectionServer?.close()

export const commands = {
  openTab,
  tell,
  freeze,
  thaw,
  closeTab,
  closeTabs,
  clearDatabases,
  startServer,
  stopServer,
  signIn,
  reuses,
  startRecording,
  recorded,
  stopRecording,
  startConnections,
  connections,
  stopConnections,
}

declare module 'vitest/browser' {
  interface BrowserCommands {
    openTab(): Promise<number>
    tell(tab: number, action: string, args: unknown[]): Promise<unknown>
    freeze(tab: number): Promise<void>
    thaw(tab: number): Promise<void>
    closeTab(tab: number): Promise<void>
    closeTabs(): Promise<void>
    clearDatabases(): Promise<void>
    startServer(accessTokenTTL: number): Promise<string>
    stopServer(): Promise<void>
    signIn(authorizationUrl: string): Promise<string>
    reuses(): Promise<number>
    startRecording(): Promise<RecordingServers['ports']>
    recorded(): Promise<Recorded[]>
    stopRecording(): Promise<void>
    startConnections(): Promise<string>
    connections(): Promise<string[]>
    stopConnections(): Promise<void>
  }
}
