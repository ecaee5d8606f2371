// Writes or reads a store whose key is in the system's keyring, with the built package.
import { fileStore, systemKeyring } from '@keyturn/node'

const [role, path] = process.argv.slice(2)
const store = fileStore(path, { key: systemKeyring({ service: 'keyturn test' }) })

try {
  if (role === 'write')
    await store.replace('alice', undefined, { format: 1, version: 1, tokens: {}, seed: 'kept in a file' })
  console.log(JSON.stringify(await store.get('alice')))
} catch ({ name, code, message, fix, retryable }) {
  console.log(JSON.stringify({ name, code, message, fix: typeof fix, retryable }))
}
