import { OAuthError } from '@keyturn/core'

/** Of the window, CSS pixels. */
const WIDTH = 480
const HEIGHT = 640

/** Opens an empty window in the middle of this one, or empties the one of that name that is open. */
export function openPopup(name: string): Window {
  const left = Math.round(screenX + (outerWidth - WIDTH) / 2)
  const top = Math.round(screenY + (outerHeight - HEIGHT) / 2)
  let popup: Window | null = null
  let cause: unknown
  try {
    popup = open('about:blank', name, `popup,width=${WIDTH},height=${HEIGHT},left=${left},top=${top}`)
  } catch (error) {
    cause = error // in a sandboxed page Firefox throws, where others give none
  }
  if (!popup || popup.closed) {
    throw new OAuthError('popup-blocked', 'The browser opened no window', {
      cause,
      fix: 'Call loginWithPopup() in the listener of a click, before anything is awaited, or offer login().',
    })
  }
  popup.focus()
  return popup
}
