/** What removes the locks that this process holds. */
const held = new Set<() => void>()
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Calls `remove` when the process ends, by itself or by a signal that nobody but this listens to: otherwise the next one
 * would wait for a lease to end. Gives the way to stop that. Listens only while a lock is held.
 */
export function removedAtExit(remove: () => void): () => void {
  if (held.size === 0) listen()
  held.add(remove)
  return () => {
    held.delete(remove)
    if (held.size === 0) stopListening()
  }
}

function listen(): void {
  process.once('exit', removeAll)
  // Before all others: who listens once is gone from the list by the time that the next one looks at it.
  for (const signal of SIGNALS) process.prependListener(signal, onSignal)
}

function stopListening(): void {
  process.removeListener('exit', removeAll)
  for (const signal of SIGNALS) process.removeListener(signal, onSignal)
}

/** A program that listens to a signal decides itself when it ends, and what it holds until then stays held. */
function onSignal(signal: NodeJS.Signals): void {
  // Whoever comes next, and asks whether it is alone, is not to be kept from what it does then.
  process.removeListener(signal, onSignal)
  if (process.listenerCount(signal) > 0) return
  removeAll()
  process.kill(process.pid, process.platform === 'win32' ? 'SIGINT' : signal)
}

function removeAll(): void {
  for (const remove of held) {
    try {
      remove()
    } catch {
      // What cannot be removed ends by itself.
    }
  }
}
