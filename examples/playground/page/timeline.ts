import { realNow } from './clock.ts'
import { element, make } from './dom.ts'
import { AHEAD, Lane, PAST } from './lane.ts'

const STEP = 10_000

/** All lanes, under one axis that moves with the time: smoothly, or where motion is unwelcome once a second. */
export class Timeline {
  readonly #lanes: Lane[] = []

  constructor() {
    const axis = element('axis')
    for (let at = -PAST; at <= AHEAD; at += STEP) {
      const label = make(
        'span',
        at === 0 ? 'present' : '',
        at === 0 ? 'now' : `${at > 0 ? '+' : '−'}${Math.abs(at) / 1000} s`,
      )
      label.style.left = `${(100 * (at + PAST)) / (PAST + AHEAD)}%`
      axis.append(label)
    }
    const calm = matchMedia('(prefers-reduced-motion: reduce)')
    const move = () => {
      if (!calm.matches) this.#draw()
      requestAnimationFrame(move)
    }
    move()
    setInterval(() => {
      if (calm.matches) this.#draw()
      for (const lane of this.#lanes) lane.tidy(realNow())
    }, 1000)
  }

  lane(name: string, title: string): Lane {
    const lane = new Lane(name, title)
    this.#lanes.push(lane)
    element('lanes').append(lane.element)
    lane.draw(realNow())
    return lane
  }

  #draw(): void {
    const now = realNow()
    for (const lane of this.#lanes) lane.draw(now)
  }
}
