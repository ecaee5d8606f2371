import { type Browser, type BrowserContext, chromium } from 'playwright'
import { chromiumArgs, chromiumPath } from '../../../scripts/chromium.mjs'

/** A headless Chromium; `undefined` where this machine has none, which on Linux x64 is an error. */
export async function launchChromium(): Promise<Browser | undefined> {
  const executablePath = await chromiumPath()
  try {
    return await chromium.launch({ ...(executablePath && { executablePath }), args: chromiumArgs })
  } catch (error) {
    if (executablePath) throw error
    return undefined
  }
}

/** What a browser's pages ask for and complain of. */
export class Watched {
  readonly hosts = new Set<string>()
  /** Violations of the page's policy, errors that nothing caught, and whatever else a console shows as an error. */
  readonly complaints: string[] = []

  async watch(context: BrowserContext): Promise<void> {
    await context.addInitScript(() => {
      addEventListener('securitypolicyviolation', ({ violatedDirective, blockedURI }) =>
        console.error(`violation of ${violatedDirective}: ${blockedURI}`),
      )
      addEventListener('unhandledrejection', ({ reason }) => console.error(`unhandled: ${reason}`))
    })
    context.on('request', (request) => {
      const { protocol, hostname } = new URL(request.url())
      if (/^(https?|wss?):$/.test(protocol)) this.hosts.add(hostname)
    })
    context.on('console', (message) => {
      if (message.type() === 'error') this.complaints.push(message.text())
    })
    context.on('weberror', (error) => this.complaints.push(String(error.error())))
  }

  /** Hosts that are not this machine. */
  get strangers(): string[] {
    return [...this.hosts].filter((host) => host !== '127.0.0.1' && host !== 'localhost')
  }
}
