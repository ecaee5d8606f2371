import type { UserAgent } from '@keyturn/core'

/** This page. */
export function browserUserAgent(): UserAgent {
  return {
    get url() {
      return globalThis.location?.href ?? '' // none where a server renders
    },
    navigate: (url) => location.assign(url),
    replaceUrl: (url) => history.replaceState(history.state, '', url),
    watch(listener) {
      const watching = new AbortController()
      // While capturing: before the app's own listeners, which may ask for a token; it shows the document's events, too.
      for (const event of ['pageshow', 'online', 'resume', 'visibilitychange']) {
        globalThis.addEventListener?.(event, listener, { capture: true, signal: watching.signal })
      }
      return () => watching.abort()
    },
    handOver: (state, response) =>
      new Promise((resolve) => {
        const channel = new BroadcastChannel(state)
        channel.onmessage = () => {
          close()
          if (!closed) resolve(true) // where it closes, the app in it is not to start
        }
        channel.postMessage(response)
        setTimeout(resolve, 1000)
      }),
  }
}
