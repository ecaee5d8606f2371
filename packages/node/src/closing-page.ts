import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'

/** What the person's browser shows in the end: nothing of it comes from the request. */
export interface ClosingPage {
  readonly status: number
  readonly title: string
  readonly text: string
}

const style = `
  :root { color-scheme: light dark; font: 1.125rem/1.5 system-ui, sans-serif }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center;
    color: light-dark(#1c1f23, #e6e8eb); background: light-dark(#f3f4f6, #15171a) }
  main { max-width: 26rem; margin: 1rem; padding: 2.5rem; border-radius: 1rem; text-align: center;
    background: light-dark(#fff, #22262b); box-shadow: 0 1px 4px #0003 }
  .mark { width: 4rem; line-height: 4rem; margin: 0 auto 1rem; border-radius: 50%; font-size: 2rem; color: #fff }
  .done { background: #1a7f45 }
  .failed { background: #b3261e }
  h1 { margin: 0; font-size: 1.5rem }
  p { margin: .5rem 0 0 }
`

/** Sends the page; resolves when it is on its way, or nobody waits for it any more. */
export function sendClosingPage(response: ServerResponse, { status, title, text }: ClosingPage): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  if (response.destroyed) return Promise.resolve()
  response.once('close', resolve)
  const styleHash = createHash('sha256').update(style).digest('base64')
  const [mark, look] = status === 200 ? ['✓', 'done'] : ['✕', 'failed']
  response.writeHead(status, {
    'content-type': 'text/html; charset=utf-8',
    'content-security-policy': `default-src 'none'; style-src 'sha256-${styleHash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'`,
    'cache-control': 'no-store',
    'referrer-policy': 'no-referrer', // the address has the code
    'x-content-type-options': 'nosniff',
    connection: 'close',
  })
  response.end(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${title}</title>
<style>${style}</style>
<main>
<div class="mark ${look}" aria-hidden="true">${mark}</div>
<h1>${title}</h1>
<p>${text}</p>
</main>
</html>
`)
  return promise
}
