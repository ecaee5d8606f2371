import { spawn } from 'node:child_process'
import { join } from 'node:path'

/**
 * Shows an address in the person's own browser (RFC 8252 section 6). No shell reads it. Settles when the system's opener
 * has ended; rejects where there is none, or it fails.
 */
export async function openInSystemBrowser(url: string): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const [command, ...before] = opener()
  const child = spawn(command, [...before, url], { stdio: 'ignore', detached: true, windowsHide: true })
  child.unref() // some openers live as long as their browser
  child.once('error', reject)
  child.once('exit', (code, signal) => {
    if (code === 0) resolve()
    else reject(new Error(`${command} ended with ${code ?? signal}`))
  })
  return promise
}

function opener(): [command: string, ...before: string[]] {
  const { platform, env } = process
  if (platform === 'darwin') return ['/usr/bin/open']
  if (platform !== 'win32') return ['xdg-open']
  // What `start` does; that one is known to the shell alone, which reads `&` as the end of a command.
  return [join(env.SystemRoot ?? 'C:\\Windows', 'System32', 'rundll32.exe'), 'url.dll,FileProtocolHandler']
}
