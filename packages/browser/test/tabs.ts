import { clear, createStore } from 'idb-keyval'
import { commands, server } from 'vitest/browser'
import type { Actions } from './another-tab.ts'

type Action = keyof Actions
type Answer<A extends Action> = Awaited<ReturnType<Actions[A]>>

/** Another tab of this browser. */
export interface Tab {
  tell<A extends Action>(action: A, ...args: Parameters<Actions[A]>): Promise<Answer<A>>
  freeze(): Promise<void>
  thaw(): Promise<void>
  close(): Promise<void>
}

export async function openTab(): Promise<Tab> {
  const tab = await commands.openTab()
  async function tell<A extends Action>(action: A, ...args: Parameters<Actions[A]>): Promise<Answer<A>> {
    return (await commands.tell(tab, action, args)) as Answer<A>
  }
  return {
    tell,
    freeze: () => commands.freeze(tab),
    thaw: () => commands.thaw(tab),
    close: () => commands.closeTab(tab),
  }
}

/** Whether this browser freezes tabs and clears a site's data for a test: Chromium's debugger does. */
export const hasDebugger: boolean = server.browser === 'chromium'

export const closeTabs = (): Promise<void> => commands.closeTabs()

/** Forgets everything that `indexedDBStore()` keeps. */
export async function forgetAll(): Promise<void> {
  const database = createStore('keyturn', 'sessions')
  await clear(database)
  await database('readonly', ({ transaction }) => transaction.db.close())
}

export const clearDatabases = (): Promise<void> => commands.clearDatabases()
