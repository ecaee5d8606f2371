import type { PopupLoginOptions } from '@keyturn/browser'
import type { Page } from 'playwright'

/** Clicks on "log in" in the lab's page, of the first client or the second; resolves with the window that opens. */
export async function openLogin(page: Page, options: PopupLoginOptions = {}, client: 'lab' | 'twin' = 'lab') {
  const opened = page.waitForEvent('popup')
  await clickLogin(page, options, client)
  const popup = await opened
  await popup.waitForURL(/\/interaction\//)
  return popup
}

export const clickLogin = (page: Page, options: PopupLoginOptions = {}, client: 'lab' | 'twin' = 'lab') =>
  page.evaluate(([given, which]) => globalThis[which]?.popup(given), [options, client] as const)

/** What became of the last login in a window. */
export const outcomeOf = (page: Page, client: 'lab' | 'twin' = 'lab', at = -1) =>
  page.evaluate(async ([which, index]) => globalThis[which]?.popups.at(index), [client, at] as const)

/** Whether a window goes away. */
export const closing = (popup: Page) => (popup.isClosed() ? Promise.resolve(popup) : popup.waitForEvent('close'))
