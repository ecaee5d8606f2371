import type { BrowserContext, Page } from 'playwright'
import { expect } from 'vitest'

/** Listens to everything that a browser's pages send, show and complain of. */
export class Traffic {
  readonly urls: string[] = []
  readonly complaints: string[] = []
  /** The Authorization header and the time of every request to an API. */
  readonly calls: { at: number; authorization: string | undefined }[] = []
  readonly #secrets = new Set<string>()
  readonly #pending: Promise<void>[] = []

  async watch(context: BrowserContext): Promise<void> {
    await context.addInitScript(() => {
      addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
        console.error(`violation of ${violatedDirective}: ${blockedURI}`),
      )
      addEventListener('unhandledrejection', ({ reason }) => console.error(`unhandled: ${reason}`))
    })
    context.on('request', (request) => {
      this.urls.push(request.url())
      const sent = new URLSearchParams(request.postData() ?? '')
      const { authorization } = request.headers()
      if (authorization) this.calls.push({ at: Date.now(), authorization })
      const secrets = ['code_verifier', 'refresh_token', 'token'].map((name) => sent.get(name))
      for (const secret of [...secrets, authorization?.split(' ')[1]]) if (secret) this.#secrets.add(secret)
    })
    context.on('response', (response) => {
      if (response.request().method() !== 'POST' || !response.url().endsWith('/token')) return
      const read = response.json().then(
        ({ access_token, refresh_token }) => {
          for (const token of [access_token, refresh_token]) if (token) this.#secrets.add(token)
        },
        () => {},
      )
      this.#pending.push(read)
    })
    context.on('page', (page) => {
      page.on('framenavigated', (frame) => this.urls.push(frame.url()))
      page.on('frameattached', () => this.complaints.push('a frame was made'))
    })
    context.on('console', (message) => {
      if (/violation|unhandled|Content Security Policy|Trusted/.test(message.text()))
        this.complaints.push(message.text())
    })
    context.on('weberror', (error) => {
      // So Firefox says that a server is out of reach, though the page has caught it.
      if (!/CORS request did not succeed/.test(String(error.error()))) this.complaints.push(String(error.error()))
    })
  }

  /** What must hold of every page in every test. */
  async check(pages: Page[], origin: string): Promise<void> {
    await Promise.all(this.#pending)
    const hosts = this.urls.filter((url) => /^(https?|wss?):/.test(url)).map((url) => new URL(url).hostname)
    expect([...new Set(hosts)].filter((host) => host !== '127.0.0.1' && host !== 'localhost')).toEqual([])
    expect(this.complaints).toEqual([])
    for (const page of pages.filter((page) => page.url().startsWith(origin))) {
      // All that may be there is when somebody was active last.
      const kept = await page.evaluate(() => Object.entries(localStorage))
      expect(kept.filter(([key, value]) => !key.startsWith('keyturn active ') || !/^\d+$/.test(value))).toEqual([])
      const history = await page.evaluate(() => navigation.entries().map(({ url }) => url ?? ''))
      this.urls.push(...history)
    }
    for (const secret of this.#secrets) {
      expect(this.urls.filter((url) => decodeURIComponent(url).includes(secret))).toEqual([])
    }
  }

  /** So that a check of nothing does not pass for one of something. */
  get secretsSeen(): number {
    return this.#secrets.size
  }
}
