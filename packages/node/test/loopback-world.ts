import { type AuthorizationCodeFlow, type LoopbackLoginOptions, loopbackLogin, memoryStore } from '@keyturn/node'
import { onTestFinished } from 'vitest'
import {
  type AuthorizationServer,
  type AuthorizationServerOptions,
  startAuthorizationServer,
} from '../../../examples/playground/src/authorization-server.ts'
import { type SignIn, signInOverHttp } from '../../../examples/playground/src/sign-in-over-http.ts'

export const ada: SignIn = { username: 'ada', password: 'lovelace' }

export interface LoopbackWorld {
  server: AuthorizationServer
  /** Addresses that a browser was opened with. */
  opened: string[]
  /** What the person's browser got in the end. */
  pages: Promise<Response>[]
  /** The redirect URI of the last login. */
  redirectUri(): string
  login(options?: Partial<LoopbackLoginOptions>): Promise<AuthorizationCodeFlow>
  /** Does what the person does in the browser, as far as the redirect to this machine. */
  comeBack(url: string, signIn?: SignIn): Promise<string>
}

/** An authorization server, and a person whose browser does not need clicks. */
export async function startWorld(options?: AuthorizationServerOptions): Promise<LoopbackWorld> {
  const server = await startAuthorizationServer(options)
  onTestFinished(() => server.stop())
  const store = memoryStore()
  const opened: string[] = []
  const pages: Promise<Response>[] = []
  const comeBack = (url: string, signIn = ada) => signInOverHttp(url, signIn)
  return {
    server,
    opened,
    pages,
    comeBack,
    redirectUri: () => new URL(opened.at(-1) ?? '').searchParams.get('redirect_uri') ?? '',
    login: (more) =>
      loopbackLogin({
        issuer: server.issuer,
        clientId: 'cli',
        scope: 'openid profile offline_access',
        store,
        login: { prompt: 'consent' },
        async open(url) {
          opened.push(url)
          pages.push(fetch(await comeBack(url)))
        },
        ...more,
      }),
  }
}
