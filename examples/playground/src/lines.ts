import { setTimeout as wait } from 'node:timers/promises'
import type { ActorView } from './actor.ts'
import { clockTime } from './drawing.ts'
import type { Scene } from './scene.ts'

/** The scene in one line, for where there is no terminal. */
export function lineOf({ now, trouble, actors }: Scene): string {
  return [`${clockTime(now)} server ${trouble ?? 'is well'}`, ...actors.map((actor) => inWords(actor, now))].join(' | ')
}

function inWords({ name, token, served, refused, heldBack, bought, failed }: ActorView, now: number): string {
  const left = token ? (token.expiresAt - now) / 1000 : 0
  const good = left > 0 ? `token good for ${left.toFixed(1)} s` : 'no token'
  const calls = `calls served ${served}, refused ${refused}, held back ${heldBack}`
  return `${name}: ${good}, ${calls}, tokens bought ${bought}, requests failed ${failed}`
}

/** Prints a line every second until it is stopped. */
export async function runInLines(scene: () => Scene, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    console.log(lineOf(scene()))
    await wait(1000, undefined, { signal }).catch(() => {}) // stopped: the loop ends
  }
}
