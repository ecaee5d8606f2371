import { globSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { playwright } from '@vitest/browser-playwright'
import { msw } from 'msw/vite'
import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config'
import { commands } from './packages/browser/test/commands.ts'
import { chromiumArgs, chromiumPath } from './scripts/chromium.mjs'
import { ClosingLine } from './scripts/closing-line.ts'
import { firefoxLaunch } from './scripts/firefox.mjs'

const root = fileURLToPath(new URL('.', import.meta.url))

// Tests run on the sources; what must see `dist` (child processes, tarballs) finds it because `npm test` builds first.
const alias = ['core', 'browser', 'node'].flatMap((name) => [
  { find: new RegExp(`^@keyturn/${name}$`), replacement: `${root}packages/${name}/src/index.ts` },
  {
    find: new RegExp(`^@keyturn/${name}/(ky|testing|verifier|doctor|opentelemetry)$`),
    replacement: `${root}packages/${name}/src/$1.ts`,
  },
])

/** Two files at a time; tests in a browser of their own come after, one by one: there they get in each other's way. */
const sideBySide = { maxWorkers: 2, sequence: { groupOrder: 0 } }
const inTurn = { maxWorkers: 1, sequence: { groupOrder: 1 } }

const onNode = (
  name: string,
  include: string,
  testTimeout = 30_000,
  browser: 'chromium' | 'firefox' = 'chromium',
): TestProjectInlineConfiguration => ({
  resolve: { alias },
  test: {
    ...sideBySide,
    isolate: name !== 'core', // its hundred files leave nothing behind, and would each load everything anew
    name,
    include: [include],
    exclude: fleets,
    environment: 'node',
    testTimeout,
    hookTimeout: testTimeout,
    provide: { browser },
    expect: { poll: { timeout: testTimeout / 4 } },
  },
})

const browserTests = 'packages/browser/test/**/*.test.ts'

const endToEnd =
  'examples/spa/test/{callback,callback-cases,dpop,lifecycle,page,popup,popup-ends,returning-page,sign-out,tabs}.test.ts'
// A fleet is many processes: it has a machine to itself (`npm run soak -- fleet`).
const fleets = process.env.KEYTURN_PROCESSES ? [] : ['packages/node/test/fleet/**']
// `npm run soak -- firefox`: two browsers through everything is more than a test run has time for.
const firefox = process.env.KEYTURN_FIREFOX ? firefoxLaunch() : undefined

const inFirefox = (launchOptions: object) => ({
  browser: 'firefox' as const,
  provider: playwright({ launchOptions }),
  exclude: [
    '**/sign-out-when-idle.test.ts', // its moved clock does not wait for Firefox's WebCrypto; end to end it is tested
    '**/authenticated-fetch.test.ts', // thousands of URLs
  ],
})

const inBrowsers = (executablePath = ''): TestProjectInlineConfiguration => ({
  resolve: { alias },
  publicDir: `${root}packages/browser/test/public`,
  plugins: [msw({ mode: 'worker-only' })], // serves /mockServiceWorker.js
  test: {
    ...inTurn,
    name: 'browser',
    include: [browserTests],
    testTimeout: 30_000,
    browser: {
      enabled: true,
      headless: true,
      screenshotFailures: false,
      commands,
      provider: playwright({ launchOptions: { ...(executablePath && { executablePath }), args: chromiumArgs } }),
      instances: [{ browser: 'chromium' }, ...(firefox ? [inFirefox(firefox)] : [])],
    },
  },
})

export default defineConfig({
  test: {
    projects: [
      onNode('core', 'packages/core/test/**/*.test.ts', 60_000),
      onNode('node', 'packages/node/test/**/*.test.ts'),
      onNode('examples', 'examples/*/test/**/*.test.ts', 120_000),
      ...(firefox ? [onNode('examples-firefox', endToEnd, 120_000, 'firefox')] : []),
      onNode('repository', 'scripts/test/**/*.test.ts', 120_000),
      ...(globSync(browserTests, { cwd: root }).length > 0 ? [inBrowsers(await chromiumPath())] : []),
    ],
    reporters: ['default', new ClosingLine()],
    coverage: { provider: 'v8', include: ['packages/*/src/**'] },
  },
})
