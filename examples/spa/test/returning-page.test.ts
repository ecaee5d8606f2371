import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { type Person, signIn, startWorld, untilStatus, visit, type World } from './world.ts'

let world: World
let person: Person
beforeAll(async () => {
  world = await startWorld() // its tokens live long: a renewal would learn of the sign-out, too
})
afterAll(() => world.stop())
beforeEach(async () => {
  person = await world.open('/callback')
})
afterEach(() => person.leave())

// A headless browser restores no page from its back-forward cache and freezes none. What it would do is told to the page
// by hand: it heard nothing of the other tabs meanwhile, and now it is there again.
const returns: Record<string, () => void> = {
  'is restored from the back-forward cache': () =>
    dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })),
  'is resumed after it was frozen': () => document.dispatchEvent(new Event('resume')),
  'is shown again': () => document.dispatchEvent(new Event('visibilitychange')),
}

for (const [what, comeBack] of Object.entries(returns)) {
  test(`a page that ${what} learns of a sign-out before it sends anything`, async () => {
    await signIn(person.page)
    const deaf = await person.context.newPage()
    await deaf.addInitScript(() => {
      Object.assign(globalThis, { BroadcastChannel: undefined })
    })
    await visit(deaf, `${world.origin}/callback`)
    await untilStatus(deaf, 'signedIn')
    await deaf.evaluate(async () => {
      await lab.auth.getAccessToken()
      // What the app does at that very moment.
      const ask = () => Object.assign(globalThis, { asked: lab.auth.getAccessToken().catch(lab.described) })
      addEventListener('pageshow', ask)
      for (const type of ['resume', 'visibilitychange']) document.addEventListener(type, ask)
    })
    await person.page.evaluate(() => lab.auth.logout({ endSession: false }))
    expect(await deaf.evaluate(() => lab.auth.session)).toMatchObject({ status: 'signedIn' })
    await deaf.evaluate(comeBack)
    expect(await deaf.evaluate(() => Reflect.get(globalThis, 'asked'))).toMatchObject({ name: 'LoginRequiredError' })
    expect(await deaf.evaluate(() => lab.auth.session)).toMatchObject({
      status: 'signedOut',
      ended: { origin: 'another' },
    })
  })
}
