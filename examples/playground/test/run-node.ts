import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface Run {
  child: ChildProcess
  /** What it wrote so far. */
  stdout: string
  stderr: string
  /** Resolves when it has ended. */
  ended: Promise<{ code: number | null; stdout: string; stderr: string }>
}

/** Runs an example as a user would, against the packages as they are built. */
export function runNode(file: URL, args: string[] = [], env: NodeJS.ProcessEnv = {}, input?: string): Run {
  const { NODE_OPTIONS: _, VITEST: __, ...own } = process.env
  const child = spawn(process.execPath, [fileURLToPath(file), ...args], { env: { ...own, NO_COLOR: '1', ...env } })
  const ended = async () => {
    const [code] = await once(child, 'close')
    return { code, stdout: run.stdout, stderr: run.stderr }
  }
  const run: Run = { child, stdout: '', stderr: '', ended: ended() }
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    run.stdout += chunk
  })
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    run.stderr += chunk
  })
  child.stdin.end(input)
  return run
}
