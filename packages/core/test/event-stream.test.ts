import { authenticatedEvents, type ServerSentEvent } from '@keyturn/core'
import { expect, test } from 'vitest'
import { CountingSource } from './counting-source.ts'
import { EventServer } from './event-server.ts'
import { rejection } from './sign-in-server.ts'

const URL_ = 'https://api.example/events'

/** The events of one connection that brings these chunks and ends. */
async function eventsOf(chunks: (string | Uint8Array)[], more: { maxEventLength?: number } = {}) {
  const server = new EventServer()
  const ended = new AbortController()
  const events: ServerSentEvent[] = []
  const stream = authenticatedEvents(new CountingSource(), {
    url: URL_,
    apis: 'https://api.example/',
    fetch: server.fetch,
    signal: ended.signal,
    onOpen: () => {
      for (const chunk of chunks) server.last.send(chunk)
      server.last.end()
    },
    onDisconnect: () => ended.abort('ended'),
    ...more,
  })
  try {
    for await (const event of stream) events.push(event)
  } catch (error) {
    if (error !== 'ended') throw error
  }
  return events
}

const dataOf = async (...chunks: string[]) => (await eventsOf(chunks)).map(({ data }) => data)

const sample = [
  '\uFEFF: a comment\n',
  'retry: 10\r\n\r\n',
  'data: one\r',
  'data:  two, ünïcödé 🎈\r\n',
  'data\n',
  'id: 1é\n',
  'event: greeting\r\r',
  'data:no id here\n\n',
  'unknown: field\nid\ndata: {"a":1}\r\n\n',
  'data: never complete',
].join('')

const expected = [
  { type: 'greeting', data: 'one\n two, ünïcödé 🎈\n', lastEventId: '1é' },
  { type: 'message', data: 'no id here', lastEventId: '1é' },
  { type: 'message', data: '{"a":1}', lastEventId: '' },
]

test('a stream gives the same events wherever its bytes are cut', async () => {
  const bytes = new TextEncoder().encode(sample)
  expect(await eventsOf([bytes])).toEqual(expected)
  expect(await eventsOf(Array.from(bytes, (byte) => Uint8Array.of(byte)))).toEqual(expected)
  for (let cut = 1; cut < bytes.length; cut++) {
    const events = await eventsOf([bytes.subarray(0, cut), new Uint8Array(), bytes.subarray(cut)])
    expect(events, `cut at ${cut}`).toEqual(expected)
  }
})

test('lines end with LF, CR or both, and an empty line completes an event', async () => {
  expect(await dataOf('data: a\n\ndata: b\r\rdata: c\r\n\r\n')).toEqual(['a', 'b', 'c'])
  expect(await dataOf('data: a\r', '\ndata: b\r', '\r', '\n')).toEqual(['a\nb'])
  expect(await dataOf('data: a\n\n\n\n\ndata: b\n\n')).toEqual(['a', 'b'])
})

test('an event that ends with CR is there before anything follows', async () => {
  const server = new EventServer()
  const stream = authenticatedEvents(new CountingSource(), {
    url: URL_,
    apis: URL_,
    fetch: server.fetch,
    onOpen: () => server.last.send('data: now\r\r'),
  })
  const events = stream[Symbol.asyncIterator]()
  expect(await events.next()).toMatchObject({ value: { data: 'now' } })
  await events.return?.()
})

test('one space after the colon is no part of the value, and a line without a colon is a field without a value', async () => {
  expect(await dataOf('data:x\ndata: x\ndata:  x\n\n', 'data\n\n', 'data\ndata\n\n', 'data:\n\n')).toEqual([
    'x\nx\n x',
    '',
    '\n',
    '',
  ])
  expect(await dataOf('data:a:b\n\n', 'Data: no\n data: no\n\n')).toEqual(['a:b'])
})

test('an event without data is none, and its type and id do not get lost with it', async () => {
  expect(await eventsOf(['event: gone\nid: 7\n\ndata: x\n\n'])).toEqual([
    { type: 'message', data: 'x', lastEventId: '7' },
  ])
  expect(await eventsOf([': only a comment\n\n', 'id: 8\n\n'])).toEqual([])
})

test('an id with a null character is ignored, and an empty one takes the last one back', async () => {
  const events = await eventsOf(['id: 1\ndata: a\n\n', 'id: 2\0\ndata: b\n\n', 'id\ndata: c\n\n', 'data: d\n\n'])
  expect(events.map(({ lastEventId }) => lastEventId)).toEqual(['1', '1', '', ''])
})

test('bytes that are no UTF-8 are replaced, and a byte order mark is one at the start only', async () => {
  const bytes = [...new TextEncoder().encode('data: a'), 0xff, ...new TextEncoder().encode('\ndata: \uFEFFb\n\n')]
  expect(await eventsOf([Uint8Array.from(bytes)])).toMatchObject([{ data: 'a\uFFFD\n\uFEFFb' }])
})

test('what is not complete at the end is dropped', async () => {
  expect(await dataOf('data: a\n\ndata: b\n')).toEqual(['a'])
  expect(await dataOf('data: a\n\ndata: b')).toEqual(['a'])
})

test.each([
  ['a line without an end', ['data: ', 'x'.repeat(60), 'x'.repeat(60)]],
  ['a comment without an end', [':', 'x'.repeat(101)]],
  ['one long line', [`data: ${'x'.repeat(100)}\n\n`]],
  ['many lines', [`${'data: 0123456789\n'.repeat(10)}\n`]],
  ['many empty lines', [`${'data\n'.repeat(101)}\n`]],
  ['a long id', [`id: ${'x'.repeat(100)}\ndata: a\n\n`]],
])('%s is refused as soon as it is too long', async (_, chunks) => {
  const error = await rejection(eventsOf(chunks, { maxEventLength: 100 }))
  expect(error).toMatchObject({ code: 'connection-failed', retryable: false })
  expect(String(error)).toContain('100 characters')
})

test('events that are short enough are not refused for what came before them', async () => {
  const chunk = `data: ${'x'.repeat(94)}\n\n`
  expect(await eventsOf(Array(50).fill(chunk), { maxEventLength: 100 })).toHaveLength(50)
  expect(await eventsOf([chunk.repeat(50)], { maxEventLength: 100 })).toHaveLength(50)
  expect((await eventsOf([`data: ${'x'.repeat(999_994)}\n\n`]))[0]?.data).toHaveLength(999_994)
  await expect(eventsOf([`data: ${'x'.repeat(999_995)}\n\n`])).rejects.toThrow('1000000 characters')
})
