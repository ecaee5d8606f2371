import type { ActorView } from './actor.ts'
import { keys } from './breakage.ts'
import type { Scene, SceneEvent } from './scene.ts'

export interface Size {
  columns: number
  rows: number
  /** Default true; the picture can be read without. */
  color?: boolean
}

const styles = { plain: '', bold: '1', dim: '2', red: '31', green: '32', yellow: '33', cyan: '36', key: '1;36' }
type Span = [text: string, style?: keyof typeof styles]
type Line = Span[]

/** The scene as lines of a terminal: at most `rows`, none wider than `columns`. */
export function draw(scene: Scene, { columns, rows, color = true }: Size): string[] {
  const width = columns - 2
  const { actors } = scene
  const keyLines = keysWithin(width)
  const top = [
    apart([['keyturn', 'bold'], [' playground']], [['break the server, and see whether a call fails', 'dim']], width),
    server(scene, width),
  ]
  const blocks = [top, ...actors.map((actor) => block(actor, scene.now, width)), [legend]]
  const airy = rows >= blocks.flat().length + blocks.length + keyLines.length + 6
  const fixed = blocks.flatMap((lines, i) => (i > 0 && (airy || i < blocks.length - 1) ? [[], ...lines] : lines))
  const space = Math.max(0, rows - fixed.length - keyLines.length - 2)
  const events = scene.events.slice(-space).map(eventLine)
  const filling: Line[] = Array.from({ length: space - events.length }, () => [])
  return [...fixed, [], ...events, ...filling, [], ...keyLines]
    .slice(0, rows)
    .map((line) => painted(line.length > 0 ? [[' '], ...line] : [], columns, color))
}

function server({ issuer, page, trouble, reuses }: Scene, width: number): Line {
  const state: Line = trouble ? [[`● the server ${trouble}`, 'red']] : [['● the server is well', 'green']]
  const replays: Line =
    reuses > 0 ? [[`${reuses} spent refresh tokens presented`, 'red']] : [[page ? `the page: ${page}` : issuer, 'dim']]
  return apart(state, replays, width)
}

function block(actor: ActorView, now: number, width: number): Line[] {
  const { name, title, token, served, refused, heldBack, bought, failed } = actor
  const figures: [number, string, string, keyof typeof styles][] = [
    [served, 'calls served', 'served', 'green'],
    [refused, 'refused', 'refused', 'red'],
    [heldBack, 'held back', 'held back', 'yellow'],
    [bought, 'tokens bought', 'tokens', 'cyan'],
    [failed, 'requests failed', 'failed', 'yellow'],
  ]
  const counts = (long: boolean): Line =>
    figures.flatMap(
      ([count, full, short, style], i): Line => [
        [`${i > 0 ? '  ' : ''}${long ? full : short} `, 'dim'],
        [String(count), count > 0 ? style : 'dim'],
      ],
    )
  const state = stateOf(actor, now)
  const titled: Line = [
    [name, 'bold'],
    [`  ${title}`, 'dim'],
  ]
  const fits = lengthOf(titled) + lengthOf(state) + 2 <= width
  return [
    apart(fits ? titled : [[name, 'bold']], state, width),
    bar(token, now, width),
    lengthOf(counts(true)) <= width ? counts(true) : counts(false),
  ]
}

function stateOf({ token, stale, retryAt }: ActorView, now: number): Line {
  const left = token ? (token.expiresAt - now) / 1000 : 0
  if (left > 0) {
    const good = `good for ${left.toFixed(1)} s`
    return stale
      ? [
          ['renewal failed, still ', 'yellow'],
          [good, 'yellow'],
        ]
      : [[good, 'green']]
  }
  const next = retryAt ? Math.ceil((retryAt - now) / 1000) : 0
  return [['no token', 'red'], [next > 0 ? `, asks again in ${next} s` : '']]
}

/** From issue to expiry; what is left of it changes from zone to zone (R2 of docs/architecture.md). */
function bar(token: ActorView['token'], now: number, width: number): Line {
  if (!token) return [['━'.repeat(width), 'dim']]
  const life = token.expiresAt - token.issuedAt
  const lead = Math.min(0.2 * life, 300_000)
  const zones: [from: number, char: string, style: keyof typeof styles][] = [
    [life - Math.min(10_000, 0.05 * life), '░', 'red'],
    [life - 0.75 * lead, '▒', 'yellow'],
    [life - 1.25 * lead, '▓', 'green'],
    [0, '█', 'green'],
  ]
  const spent = Math.min(width, Math.max(0, Math.floor(((now - token.issuedAt) / life) * width)))
  const line: Line = [['━'.repeat(spent), 'dim']]
  for (let cell = spent; cell < width; cell++) {
    const at = ((cell + 0.5) / width) * life
    const [, char = '', style = 'plain'] = zones.find(([from]) => at >= from) ?? []
    line.push([char, style])
  }
  return line
}

const legend: Line = [
  ['━', 'dim'],
  [' spent  '],
  ['█', 'green'],
  [' fresh  '],
  ['▓', 'green'],
  ['▒', 'yellow'],
  [' should renew  '],
  ['░', 'red'],
  [' must renew'],
]

function eventLine({ at, who, what, mood }: SceneEvent): Line {
  const style = { good: 'plain', bad: 'yellow', neutral: 'cyan' } as const
  return [[`${clockTime(at)}  `, 'dim'], [who.padEnd(8)], [what, style[mood]]]
}

export function clockTime(at: number): string {
  return new Date(at).toTimeString().slice(0, 8)
}

function keysWithin(width: number): Line[] {
  const lines: Line[] = [[]]
  for (const [key, label] of keys) {
    const spans: Line = [[key, 'key'], [` ${label}`]]
    const last = lines.at(-1) ?? []
    if (last.length === 0) last.push(...spans)
    else if (lengthOf(last) + 3 + lengthOf(spans) <= width) last.push(['   '], ...spans)
    else lines.push(spans)
  }
  return lines
}

/** One part at the left, the other at the right where there is room for both. */
function apart(left: Line, right: Line, width: number): Line {
  const gap = width - lengthOf(left) - lengthOf(right)
  return gap >= 2 ? [...left, [' '.repeat(gap)], ...right] : left
}

function lengthOf(line: Line): number {
  return line.reduce((sum, [text]) => sum + text.length, 0)
}

function painted(line: Line, columns: number, color: boolean): string {
  let room = columns
  let out = ''
  let current = ''
  for (const [text, style = 'plain'] of line) {
    const shown = text.slice(0, room)
    room -= shown.length
    if (shown === '') continue
    const code = styles[style]
    if (color && code !== current) out += `\x1b[0${code && `;${code}`}m`
    current = code
    out += shown
  }
  return color && current !== '' ? `${out}\x1b[0m` : out
}
