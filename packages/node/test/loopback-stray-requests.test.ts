import { expect, test } from 'vitest'
import { startWorld } from './loopback-world.ts'

test('what a browser asks for while the code is redeemed is not there', async () => {
  const { login, comeBack, pages, opened } = await startWorld()
  const answers: number[] = []
  await login({
    async open(url) {
      opened.push(url)
      pages.push(fetch(await comeBack(url)))
    },
    async fetch(url, init) {
      const { origin } = new URL(
        new URL(opened[0] ?? 'http://127.0.0.1').searchParams.get('redirect_uri') ?? url.toString(),
      )
      if (`${init?.body}`.includes('authorization_code')) answers.push((await fetch(`${origin}/favicon.ico`)).status)
      return fetch(url, init)
    },
  })
  expect(answers).toEqual([404])
  expect((await pages[0])?.status).toBe(200)
})
