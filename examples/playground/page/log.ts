import { element, make } from './dom.ts'

const LENGTH = 60

/** What happened, in words; `at` is the real time. */
export interface Entry {
  at: number
  who: string
  what: string
  mood: 'good' | 'bad' | 'neutral'
}

/** Newest first. What concerns this page is also read out, what the others do is not: they never stop. */
export function tell({ at, who, what, mood }: Entry, { aloud = false } = {}): void {
  const line = make('li', mood)
  const time = make('time', '', new Date(at).toTimeString().slice(0, 8))
  const words = make('span', 'what')
  words.append(make('b', '', who), ` ${what}`)
  line.append(time, words)
  line.dataset.at = String(at)
  const log = element('log')
  const older = [...log.children].find((other) => other instanceof HTMLElement && Number(other.dataset.at) <= at)
  log.insertBefore(line, older ?? null)
  while (log.childElementCount > LENGTH) log.lastElementChild?.remove()
  if (aloud) readOut(`${who}: ${what}`)
}

function readOut(text: string): void {
  const announcer = element('announcer')
  announcer.append(make('span', '', `${text}. `))
  while (announcer.childElementCount > 5) announcer.firstElementChild?.remove()
}
