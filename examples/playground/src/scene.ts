import type { TimelineEvent } from '@keyturn/node'
import type { Actor, ActorView } from './actor.ts'
import type { AuthorizationServer } from './authorization-server.ts'
import type { Breakage } from './breakage.ts'

/** All that there is to see, at one moment. */
export interface Scene {
  now: number
  issuer: string
  /** Where the page is. */
  page?: string | undefined
  /** What is wrong with the server. */
  trouble?: string | undefined
  /** How many spent refresh tokens were presented again, counted by the server. */
  reuses: number
  actors: ActorView[]
  /** Oldest first. */
  events: SceneEvent[]
}

export interface SceneEvent {
  at: number
  who: string
  what: string
  mood: 'good' | 'bad' | 'neutral'
}

export function sceneOf(server: AuthorizationServer, actors: Actor[], breakage: Breakage): Scene {
  const views = actors.map((actor) => actor.view())
  const events = actors.flatMap((actor) => actor.events.map((event) => told(actor.name, event)))
  const deeds = breakage.deeds.map(({ at, what }): SceneEvent => ({ at, who: 'server', what, mood: 'neutral' }))
  return {
    now: Date.now(),
    issuer: server.issuer,
    trouble: breakage.trouble,
    reuses: server.reuses,
    actors: views,
    events: [...events, ...deeds].sort((one, other) => one.at - other.at),
  }
}

function told(who: string, { at, event, detail }: TimelineEvent): SceneEvent {
  const good = { issued: 'asked for a token, got one', renewed: 'sent its refresh token, got new tokens' }
  const what = event === 'issued' || event === 'renewed' ? good[event] : `${event}${detail ? `: ${detail}` : ''}`
  return { at, who, what, mood: event in good ? 'good' : 'bad' }
}
