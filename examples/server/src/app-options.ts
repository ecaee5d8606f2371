import type { SessionSnapshot, WebSessions } from '@keyturn/node'

export interface AppOptions {
  sessions: WebSessions
  /** Answers what the authorization server posts when somebody has signed out there. */
  loggedOut: (request: Request) => Promise<Response>
  /** The API that `/me` asks; no other URL sees a token. */
  api: string
  /** The app's own address, where people are after they have signed out. */
  home: string
}

/** What everybody sees, and who is signed in. */
export function homePage(session: SessionSnapshot | undefined): string {
  if (session?.status !== 'signedIn') return page('<p><a href="/login">Sign in</a></p>')
  // Signing out changes something, so it is no link: no other site's page can make a browser do it.
  return page(`<p>Signed in as <strong>${escaped(session.claims?.name ?? session.claims?.sub)}</strong></p>
<p><a href="/me">What the API says</a></p>
<form method="post" action="/logout"><button>Sign out</button></form>`)
}

/** What went wrong, in words without secrets. */
export function troublePage({ message }: Error): string {
  return page(`<p role="alert">${escaped(message)}</p>
<p><a href="/login">Sign in again</a></p>`)
}

function page(content: string): string {
  return `<!doctype html><html lang="en"><meta charset="utf-8"><title>keyturn</title><main>${content}</main></html>`
}

function escaped(text: unknown): string {
  return String(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
