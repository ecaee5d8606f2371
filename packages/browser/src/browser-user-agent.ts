import type { UserAgent } from '@keyturn/core'

/** This page. */
export function browserUserAgent(): UserAgent {
  return {
    get url() {
      return location.href
    },
    navigate: (url) => location.assign(url),
    replaceUrl: (url) => history.replaceState(history.state, '', url),
    watch(listener) {
      if (typeof document === 'undefined') return () => {}
      const shown = () => {
        if (document.visibilityState === 'visible') listener()
      }
      const events = [
        [globalThis, 'pageshow', listener],
        [globalThis, 'online', listener],
        [document, 'resume', listener],
        [document, 'visibilitychange', shown],
      ] as const
      // While capturing: before the app's own listeners, which may ask for a token.
      for (const [target, type, handler] of events) target.addEventListener(type, handler, true)
      return () => {
        for (const [target, type, handler] of events) target.removeEventListener(type, handler, true)
      }
    },
  }
}
