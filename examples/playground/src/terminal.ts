import { stripVTControlCharacters } from 'node:util'
import { draw } from './drawing.ts'
import type { Scene } from './scene.ts'

const REDRAWN_EVERY = 250

export interface TerminalOptions {
  scene: () => Scene
  pressed: (key: string) => Promise<void>
  signal: AbortSignal
  /** Ends it all. */
  stop: () => void
}

/** Draws the scene again and again, and passes keys on, until it is stopped; then the terminal is as it was. */
export async function runInTerminal({ scene, pressed, signal, stop }: TerminalOptions): Promise<void> {
  const { stdin, stdout } = process
  const color = !process.env.NO_COLOR && stdout.getColorDepth() > 1
  const redraw = () => {
    const lines = draw(scene(), { columns: stdout.columns || 80, rows: stdout.rows || 24, color })
    // Over what was there, in one write: nothing flickers.
    stdout.write(`\x1b[H${lines.map((line) => `${line}\x1b[K`).join('\r\n')}\x1b[J`)
  }
  const onKey = (chunk: Buffer) => {
    // What an arrow sends ends in a letter, too.
    for (const key of stripVTControlCharacters(chunk.toString()).toLowerCase()) {
      if (key === 'q' || key === '\x03' || key === '\x04') stop()
      else void pressed(key).then(redraw)
    }
  }
  const restore = () => {
    stdout.write('\x1b[?25h\x1b[?1049l')
  }

  stdout.write('\x1b[?1049h\x1b[?25l')
  process.once('exit', restore)
  stdin.setRawMode(true)
  stdin.on('data', onKey)
  stdout.on('resize', redraw)
  const timer = setInterval(redraw, REDRAWN_EVERY)
  redraw()

  await new Promise<void>((resolve) => {
    signal.addEventListener('abort', () => resolve(), { once: true })
  })
  clearInterval(timer)
  stdout.off('resize', redraw)
  stdin.off('data', onKey)
  stdin.setRawMode(false)
  stdin.pause()
  process.off('exit', restore)
  restore()
}
