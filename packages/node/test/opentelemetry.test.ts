import { channel } from 'node:diagnostics_channel'
import type { AuditEventName, AuditEvents } from '@keyturn/node'
import { auditedStore, clientCredentials, memoryStore } from '@keyturn/node'
import { telemetry } from '@keyturn/node/opentelemetry'
import { SpanStatusCode } from '@opentelemetry/api'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { expect, onTestFinished, test } from 'vitest'
import { startAuthorizationServer } from '../../../examples/playground/src/authorization-server.ts'

function observed() {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
  const meters = new MeterProvider({ readers: [reader] })
  const spans = new InMemorySpanExporter()
  const tracers = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] })
  const stop = telemetry({ meter: meters.getMeter('test'), tracer: tracers.getTracer('test') })
  onTestFinished(async () => {
    stop()
    await meters.shutdown()
    await tracers.shutdown()
  })
  return {
    stop,
    spans: () => spans.getFinishedSpans(),
    async points(name: string) {
      exporter.reset()
      await meters.forceFlush()
      const found = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((scope) => scope.metrics))
      const metric = found.find(({ descriptor }) => descriptor.name === name)
      return (metric?.dataPoints ?? []).map(({ attributes, value }) => ({ attributes, value }))
    },
  }
}

const tell = <Name extends AuditEventName>(name: Name, event: AuditEvents[Name]) => channel(name).publish(event)

const session = {
  at: 1_800_000_000_000,
  issuer: 'https://i',
  clientId: 'c',
  grant: 'password',
  session: 's',
  subject: 'ada',
}

test('what happens to a real source becomes metrics and spans', async () => {
  const server = await startAuthorizationServer()
  onTestFinished(() => server.stop())
  const { points, spans } = observed()
  const source = (clientSecret: string) =>
    clientCredentials({ issuer: server.issuer, clientId: 'worker', clientSecret, store: auditedStore(memoryStore()) })
  await source('worker-secret').getAccessToken()
  await expect(source('wrong').getAccessToken()).rejects.toThrow()
  const who = { 'keyturn.issuer': server.issuer, 'keyturn.client_id': 'worker', 'keyturn.grant': 'client_credentials' }
  expect(await points('keyturn.token.requests')).toEqual([
    { value: 1, attributes: { ...who, 'keyturn.outcome': 'issued' } },
    { value: 1, attributes: { ...who, 'keyturn.outcome': 'refused', 'error.type': 'invalid_client' } },
  ])
  expect(spans().map(({ name, status }) => [name, status.code])).toEqual([
    ['keyturn token issued', SpanStatusCode.UNSET],
    ['keyturn token refused', SpanStatusCode.ERROR],
  ])
})

test('durations are seconds, and a span is as long as the renewal was', async () => {
  const { points, spans } = observed()
  tell('keyturn:token:renewed', { ...session, scope: 'a', tokenType: 'Bearer', lifetime: 60_000, duration: 250 })
  expect(await points('keyturn.token.duration')).toMatchObject([{ value: { count: 1, sum: 0.25 } }])
  const [span] = spans()
  expect(span?.startTime).toEqual([1_799_999_999, 750_000_000])
  expect(span?.endTime).toEqual([1_800_000_000, 0])
})

test('ends and refusals are counted by their reasons, and people are in none of it', async () => {
  const { points, spans } = observed()
  const ended = { ...session, reason: 'refused', origin: 'server', error: 'invalid_grant', lasted: 5 }
  tell('keyturn:session:ended', ended)
  tell('keyturn:token:unavailable', { ...session, error: 'network', retryAt: undefined, duration: undefined })
  tell('keyturn:verification:refused', { at: 1, code: 'invalid-token', status: 401, scope: 'x', duration: 2 })
  const all = [
    ...(await points('keyturn.session.ends')),
    ...(await points('keyturn.verification.refusals')),
    ...(await points('keyturn.token.requests')),
  ]
  expect(all.map(({ attributes }) => attributes)).toEqual([
    expect.objectContaining({ 'keyturn.reason': 'refused', 'keyturn.origin': 'server' }),
    { 'error.type': 'invalid-token', 'http.response.status_code': 401 },
    expect.objectContaining({ 'keyturn.outcome': 'unavailable', 'error.type': 'network' }),
  ])
  expect(JSON.stringify([all, spans().map(({ attributes }) => attributes)])).not.toContain('ada')
})

test('who stops it hears no more, and leaves nobody on the channels', async () => {
  const { stop, points } = observed()
  stop()
  tell('keyturn:session:ended', { ...session, reason: 'idle', origin: 'user', error: undefined, lasted: undefined })
  expect(await points('keyturn.session.ends')).toEqual([])
  expect(channel('keyturn:session:ended').hasSubscribers).toBe(false)
})
