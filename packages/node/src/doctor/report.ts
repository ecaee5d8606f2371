import { styleText } from 'node:util'
import type { Finding, Level } from './finding.ts'

const LEVELS = ['error', 'warning', 'unknown', 'ok'] as const
const COLORS = { error: 'red', warning: 'yellow', unknown: 'gray', ok: 'green' } as const
/** How a level is counted, one and many. */
const NAMES: Readonly<Record<Level, readonly [one: string, many: string]>> = {
  error: ['error', 'errors'],
  warning: ['warning', 'warnings'],
  unknown: ['not looked at', 'not looked at'],
  ok: ['ok', 'ok'],
}

export function counted(findings: readonly Finding[]): Record<Level, number> {
  const count = (level: Level) => findings.filter((finding) => finding.level === level).length
  return { error: count('error'), warning: count('warning'), unknown: count('unknown'), ok: count('ok') }
}

/** For people: what is wrong comes last, where it is seen. `color`: whether words may be coloured. */
export function readable(issuer: string, findings: readonly Finding[], color: boolean): string {
  const painted = (level: Level, text: string) =>
    color ? styleText(COLORS[level], text, { validateStream: false }) : text
  const width = Math.max(...findings.map(({ id }) => id.length))
  const lines = [...findings]
    .sort((one, other) => LEVELS.indexOf(other.level) - LEVELS.indexOf(one.level))
    .flatMap(({ id, level, sentence, fix, source }) => [
      `${painted(level, level.padEnd(8))}${id.padEnd(width)}  ${sentence}`,
      ...(fix ? [`${' '.repeat(width + 10)}${fix} (${source})`] : []),
    ])
  const counts = counted(findings)
  const sum = LEVELS.filter((level) => counts[level] > 0).map((level) => {
    return painted(level, `${counts[level]} ${NAMES[level][counts[level] === 1 ? 0 : 1]}`)
  })
  return `${issuer}\n\n${lines.join('\n')}\n\n${sum.join(', ')}\n`
}

/** For programs; the members are stable. */
export function asJson(issuer: string, findings: readonly Finding[]): string {
  return `${JSON.stringify({ issuer, counts: counted(findings), findings }, undefined, 2)}\n`
}
