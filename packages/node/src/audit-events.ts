import { channel } from 'node:diagnostics_channel'

/** What all events of a session say; times are epoch milliseconds. No token, code, key or secret is in any. */
export interface SessionEvent {
  readonly at: number
  readonly issuer: string | undefined
  readonly clientId: string | undefined
  /** How the session began, such as `authorization_code` or `client_credentials`. */
  readonly grant: string | undefined
  /** Tells one session from another; the same for all who share the store. Nothing can be done with it. */
  readonly session: string
  /** Whose it is (`sub`), where it is a person's. */
  readonly subject: string | undefined
}

/** An access token was issued to a session, or took the place of another. */
export interface TokenEvent extends SessionEvent {
  /** What it is for (RFC 6749 section 3.3). */
  readonly scope: string | undefined
  readonly tokenType: 'Bearer' | 'DPoP' | undefined
  /** Milliseconds that the token lives. */
  readonly lifetime: number | undefined
  /** Milliseconds from the lock until it was stored; undefined where there was none, as at a sign-in. */
  readonly duration: number | undefined
}

/** A token was not to be had. */
export interface TokenFailureEvent extends SessionEvent {
  /** The server's error code where it refused, else the `code` of the error, such as `network`. */
  readonly error: string | undefined
  /** When it is tried again at the earliest; undefined: when somebody asks. */
  readonly retryAt: number | undefined
  readonly duration: number | undefined
}

/** A session is over. */
export interface SessionEndEvent extends SessionEvent {
  /** As `session.ended.reason`. */
  readonly reason: string
  readonly origin: string
  /** The server's error code, where it refused. */
  readonly error: string | undefined
  /** Milliseconds since it began, where that is known. */
  readonly lasted: number | undefined
}

/** An API refused a request. */
export interface VerificationEvent {
  readonly at: number
  /** The `code` of the error, such as `invalid-token`. */
  readonly code: string
  /** The HTTP status of the answer. */
  readonly status: number | undefined
  /** The scope that the request needed besides that of all requests. */
  readonly scope: string | undefined
  /** Milliseconds that it took. */
  readonly duration: number
}

/** The events by the names of their channels (`node:diagnostics_channel`). */
export interface AuditEvents {
  'keyturn:token:issued': TokenEvent
  'keyturn:token:renewed': TokenEvent
  /** The server said no. */
  'keyturn:token:refused': TokenFailureEvent
  /** No answer, or none that helps: it passes. */
  'keyturn:token:unavailable': TokenFailureEvent
  'keyturn:session:ended': SessionEndEvent
  'keyturn:verification:refused': VerificationEvent
}

/** The name of a channel. */
export type AuditEventName = keyof AuditEvents

const NAMES: Readonly<Record<AuditEventName, true>> = {
  'keyturn:token:issued': true,
  'keyturn:token:renewed': true,
  'keyturn:token:refused': true,
  'keyturn:token:unavailable': true,
  'keyturn:session:ended': true,
  'keyturn:verification:refused': true,
}

/** Tells everybody who subscribed to the channel; costs nothing where nobody did. */
export function publish<Name extends AuditEventName>(name: Name, event: AuditEvents[Name]): void {
  const { hasSubscribers } = channel(name)
  if (hasSubscribers) channel(name).publish(Object.freeze(event))
}

/** Whether anybody listens to anything. */
export function isAnybodyListening(): boolean {
  return Object.keys(NAMES).some((name) => channel(name).hasSubscribers)
}
