// Calls an API with the platform's own fetch, and says the status. It uses the built package.
import { authenticatedFetch, clientCredentials } from '@keyturn/node'

const [origin] = process.argv.slice(2)
const source = clientCredentials({ issuer: origin, clientId: 'worker', clientSecret: 'secret' })
const api = authenticatedFetch(source, { apis: origin })
process.stdout.write(`${(await api(`${origin}/orders`)).status}\n`)
