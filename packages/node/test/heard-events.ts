import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { AuditEventName } from '@keyturn/node'
import { onTestFinished } from 'vitest'

const names: AuditEventName[] = [
  'keyturn:token:issued',
  'keyturn:token:renewed',
  'keyturn:token:refused',
  'keyturn:token:unavailable',
  'keyturn:session:ended',
  'keyturn:verification:refused',
]

export interface Heard {
  name: string
  event: Record<string, unknown>
}

/** All events until the end of the test, as they come. */
export function heardEvents(): Heard[] {
  const heard: Heard[] = []
  const listener = (event: unknown, name: string | symbol) => {
    heard.push({ name: String(name), event: { ...Object(event) } })
  }
  for (const name of names) subscribe(name, listener)
  onTestFinished(() => {
    for (const name of names) unsubscribe(name, listener)
  })
  return heard
}
