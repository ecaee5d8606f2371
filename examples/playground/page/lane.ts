import { realNow } from './clock.ts'
import { make, say } from './dom.ts'

/** What a lane shows, milliseconds: before now, and after it. */
export const PAST = 50_000
export const AHEAD = 30_000
const WINDOW = PAST + AHEAD
const epoch = realNow()

/** `here`: renewed by this page, or whoever the lane is of; `elsewhere`: by another tab. */
export type Mark = 'issued' | 'here' | 'elsewhere' | 'failed' | 'ended'

interface Placed {
  element: HTMLElement
  end: number
}

/** One kind of token through time: every token a bar, and what happened to it a mark. Times are the real ones. */
export class Lane {
  readonly element: HTMLElement = make('section', 'lane')
  readonly #state = make('p', 'state')
  readonly #bars = make('div', 'strip')
  readonly #marks = make('div', 'strip')
  readonly #placed = new Set<Placed>()
  #last: { placed: Placed; start: number } | undefined
  #row = 0

  constructor(name: string, title: string) {
    const head = make('div', 'head')
    head.append(make('h3', '', name), make('p', 'quiet', title), this.#state)
    const track = make('div', 'track')
    track.ariaHidden = 'true' // #state says the same in words
    track.append(this.#bars, make('div', 'veil'), this.#marks, make('div', 'now'))
    this.element.append(head, track)
  }

  say(text: string, mood: 'good' | 'bad' | 'none'): void {
    say(this.#state, text)
    this.#state.dataset.mood = mood
  }

  /** A new token; where it turns on the one before follows from R2 of docs/architecture.md. */
  token(start: number, end: number): void {
    this.#row = 1 - this.#row
    const life = end - start
    const should = life - 1.25 * Math.min(0.2 * life, 300_000)
    const must = life - Math.min(10_000, 0.05 * life)
    const bar = make('div', `bar row${this.#row}`)
    for (const [zone, length] of [
      ['fresh', should],
      ['should', must - should],
      ['must', life - must],
    ] as const) {
      const part = make('div', zone)
      part.style.width = percent(length / life)
      bar.append(part)
    }
    this.#last?.placed.element.classList.add('replaced')
    this.#last = { placed: this.#place(this.#bars, bar, start, end), start }
  }

  mark(at: number, kind: Mark): void {
    this.#place(this.#marks, make('i', `mark ${kind} row${this.#row}`), at)
  }

  /** An API call. */
  tick(at: number, served: boolean): void {
    this.#place(this.#marks, make('i', served ? 'tick' : 'tick bad'), at)
  }

  /** There is no token any more. */
  end(at: number): void {
    const { placed, start } = this.#last ?? {}
    this.#last = undefined
    if (!placed || start === undefined || placed.end <= at) return
    placed.element.style.width = percent(Math.max(0, at - start) / WINDOW)
    placed.element.classList.add('cut')
    placed.end = at
    this.mark(at, 'ended')
  }

  draw(now: number): void {
    const left = `translateX(${(-100 * (now - PAST - epoch)) / WINDOW}%)`
    this.#bars.style.transform = left
    this.#marks.style.transform = left
  }

  /** Drops what has left the window. */
  tidy(now: number): void {
    for (const placed of this.#placed) {
      if (placed.end > now - PAST - 2000) continue
      placed.element.remove()
      this.#placed.delete(placed)
    }
  }

  #place(strip: HTMLElement, element: HTMLElement, start: number, end = start): Placed {
    element.style.left = percent((start - epoch) / WINDOW)
    if (end > start) element.style.width = percent((end - start) / WINDOW)
    strip.append(element)
    const placed = { element, end }
    this.#placed.add(placed)
    return placed
  }
}

function percent(fraction: number): string {
  return `${100 * fraction}%`
}
