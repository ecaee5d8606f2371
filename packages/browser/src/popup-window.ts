import { OAuthError } from '@keyturn/core'

/** Of the window, CSS pixels. */
const WIDTH = 480
const HEIGHT = 640
/** Milliseconds between two looks at the window. */
const LOOK = 100
/** Milliseconds for which it looks closed to somebody who is back at this page before it counts as closed. */
const GRACE = 2000

/** Opens an empty window in the middle of this one, or empties the one of that name that is open. */
export function openPopup(name: string): Window {
  const left = Math.round(screenX + (outerWidth - WIDTH) / 2)
  const top = Math.round(screenY + (outerHeight - HEIGHT) / 2)
  const popup = open('about:blank', name, `popup,width=${WIDTH},height=${HEIGHT},left=${left},top=${top}`)
  if (!popup || popup.closed) {
    throw new OAuthError('popup-blocked', 'The browser opened no window', {
      fix: 'Call loginWithPopup() in the listener of a click, before anything is awaited, or offer login().',
    })
  }
  popup.focus()
  return popup
}

/**
 * Calls `left` when the person has closed the window, as far as can be known: COOP cuts the tie, and then `closed` is
 * true of a window that is open. So it counts only with the person here; and, for a tie that was cut at the first page,
 * only after they were away. To be called before the window goes anywhere.
 */
export function whenLeft(popup: Window, signal: AbortSignal, left: () => void): void {
  let telling = false
  let since: number | undefined
  const look = () => {
    const here = document.hasFocus()
    telling ||= !here || hasShownPage(popup)
    since = telling && here && popup.closed ? (since ?? performance.now()) : undefined
    if (since === undefined || performance.now() - since < GRACE) return
    clearInterval(timer)
    left()
  }
  const timer = setInterval(look, LOOK)
  signal.addEventListener('abort', () => clearInterval(timer))
  // The moment at which the first page comes, and the tie is cut or is not.
  if (!hasShownPage(popup)) popup.addEventListener('pagehide', () => setTimeout(look))
}

/** Whether another page than the empty one is in it, and the tie to it is not cut. */
function hasShownPage(popup: Window): boolean {
  try {
    return !popup.closed && popup.location.href !== 'about:blank'
  } catch {
    return true // a page of another origin
  }
}
