// A program that signs in and has nothing else to do.
import { loopbackLogin } from '@keyturn/node'

const [issuer] = process.argv.slice(2)
const auth = await loopbackLogin({
  issuer,
  clientId: 'cli',
  scope: 'openid offline_access',
  login: { prompt: 'consent' },
})
console.log(auth.session.status)
