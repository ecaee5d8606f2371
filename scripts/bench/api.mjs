// The API that is called: answers everybody at once.
import { createServer } from 'node:http'

const api = createServer((_, response) => response.end('ok'))
api.listen(0, '127.0.0.1', () => process.send?.(api.address().port))
