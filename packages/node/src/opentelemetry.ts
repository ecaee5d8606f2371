import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { type Attributes, type Meter, metrics, SpanKind, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api'
import type { AuditEventName, AuditEvents, SessionEvent, TokenEvent, TokenFailureEvent } from './audit-events.ts'

/** Whose metrics and spans they are. */
export interface TelemetryOptions {
  /** Default: the global one, named `@keyturn/node`. */
  meter?: Meter | undefined
  /** Default: the global one, named `@keyturn/node`. */
  tracer?: Tracer | undefined
}

/** Upper bounds of the durations' buckets, seconds. */
const BUCKETS = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/**
 * Makes OpenTelemetry metrics and spans of the audit events of this process: `keyturn.token.requests` and
 * `keyturn.token.duration` with a span for each, `keyturn.session.ends`, `keyturn.verification.refusals` and
 * `keyturn.verification.duration`. People are not in the attributes. Returns the way to stop.
 */
export function telemetry(options: TelemetryOptions = {}): () => void {
  const { meter = metrics.getMeter('@keyturn/node'), tracer = trace.getTracer('@keyturn/node') } = options
  const seconds = { unit: 's', advice: { explicitBucketBoundaries: BUCKETS } }
  const requests = meter.createCounter('keyturn.token.requests', { description: 'Tokens that were asked for' })
  const durations = meter.createHistogram('keyturn.token.duration', {
    ...seconds,
    description: 'From the lock of the session until its token was stored',
  })
  const ends = meter.createCounter('keyturn.session.ends', { description: 'Sessions that are over' })
  const refusals = meter.createCounter('keyturn.verification.refusals', { description: 'Requests that were refused' })
  const refusalDurations = meter.createHistogram('keyturn.verification.duration', {
    ...seconds,
    description: 'What it took to refuse a request',
  })

  const asked = (outcome: string, failed: boolean) => (event: TokenEvent | TokenFailureEvent) => {
    const { at, duration } = event
    const error = 'error' in event ? event.error : undefined
    const attributes = {
      ...sessionAttributes(event),
      'keyturn.outcome': outcome,
      ...(error && { 'error.type': error }),
    }
    requests.add(1, attributes)
    if (duration !== undefined) durations.record(duration / 1000, attributes)
    const startTime = at - (duration ?? 0)
    const span = tracer.startSpan(`keyturn token ${outcome}`, { kind: SpanKind.CLIENT, startTime, attributes })
    if (failed) span.setStatus({ code: SpanStatusCode.ERROR })
    span.end(at)
  }
  const stops = [
    listen('keyturn:token:issued', asked('issued', false)),
    listen('keyturn:token:renewed', asked('renewed', false)),
    listen('keyturn:token:refused', asked('refused', true)),
    listen('keyturn:token:unavailable', asked('unavailable', true)),
    listen('keyturn:session:ended', (event) => {
      const { reason, origin } = event
      ends.add(1, { ...sessionAttributes(event), 'keyturn.reason': reason, 'keyturn.origin': origin })
    }),
    listen('keyturn:verification:refused', ({ code, status, duration }) => {
      const attributes = { 'error.type': code, ...(status && { 'http.response.status_code': status }) }
      refusals.add(1, attributes)
      refusalDurations.record(duration / 1000, attributes)
    }),
  ]
  return () => {
    for (const stop of stops) stop()
  }
}

function sessionAttributes({ issuer, clientId, grant }: SessionEvent): Attributes {
  return { 'keyturn.issuer': issuer, 'keyturn.client_id': clientId, 'keyturn.grant': grant }
}

function listen<Name extends AuditEventName>(name: Name, listener: (event: AuditEvents[Name]) => void): () => void {
  // Nobody else publishes on these channels what is no such event.
  const heard = (message: unknown) => listener(message as AuditEvents[Name])
  subscribe(name, heard)
  return () => void unsubscribe(name, heard)
}
