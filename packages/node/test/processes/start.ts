import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const built = fileURLToPath(new URL('../../dist/index.js', import.meta.url))

/** Starts another process that shares the file store; with `shell` as what a shell does before. */
export function start(role: string, args: readonly (string | number)[], shell?: string) {
  return startScript('store-process.mjs', [role, ...args], shell)
}

/** Starts one of the programs beside this file. */
export function startScript(name: string, args: readonly (string | number)[], shell?: string) {
  if (!existsSync(built)) throw new Error('Other processes use the built package: run `npm run build` first')
  const script = fileURLToPath(new URL(name, import.meta.url))
  const command = [process.execPath, script, ...args.map(String)]
  const [file = '', ...rest] = shell === undefined ? command : ['sh', '-c', `${shell}; exec "$@"`, 'sh', ...command]
  const child = spawn(file, rest, { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const exited = new Promise<number | string | null>((resolve) => {
    child.on('exit', (code, signal) => resolve(signal ?? code))
  })
  return {
    exited,
    /** The next line that it says. */
    next: async (): Promise<string | undefined> => (await lines.next()).value,
    tell: (order: string) => child.stdin.write(`${order}\n`),
    signal: (signal: NodeJS.Signals) => child.kill(signal),
  }
}
