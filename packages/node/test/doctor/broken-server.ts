import { createServer, type RequestListener } from 'node:http'
import { type DoctorOptions, diagnose, type Finding } from '@keyturn/node/doctor'
import type Provider from 'oidc-provider'
import { onTestFinished } from 'vitest'
import {
  type AuthorizationServer,
  type AuthorizationServerOptions,
  startAuthorizationServer,
} from '../../../../examples/playground/src/authorization-server.ts'

export type Context = Parameters<Parameters<Provider['use']>[0]>[0]

/** A page's origin, as far as the server has to know: nobody is there. */
export const ORIGIN = 'http://127.0.0.1:9'
/** What a developer of that page would give. */
export const PAGE = {
  clientId: 'spa',
  redirectUri: `${ORIGIN}/callback`,
  scope: 'openid offline_access',
  origin: ORIGIN,
} satisfies Partial<DoctorOptions>

export interface BreakableServer extends AuthorizationServer {
  /** Changes answers of a path, or what is asked. */
  change(path: string, how: (ctx: Context) => void | Promise<void>, when?: 'before' | 'after'): void
}

export async function startServer(options: AuthorizationServerOptions = {}): Promise<BreakableServer> {
  const changes: { path: string; how: (ctx: Context) => void | Promise<void>; when: 'before' | 'after' }[] = []
  const server = await startAuthorizationServer({
    spaOrigins: [ORIGIN],
    redirectUris: [`${ORIGIN}/web`],
    async middleware(ctx, next) {
      const due = (when: 'before' | 'after') =>
        changes.filter((change) => change.path === ctx.path && change.when === when)
      for (const { how } of due('before')) await how(ctx)
      await next()
      for (const { how } of due('after')) await how(ctx)
    },
    ...options,
  })
  onTestFinished(() => server.stop())
  return Object.assign(server, {
    change(path: string, how: (ctx: Context) => void | Promise<void>, when: 'before' | 'after' = 'after') {
      changes.push({ path, how, when })
    },
  })
}

/** A server of our own, where oidc-provider cannot be made to be so hostile. */
export async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${Object(server.address()).port}`
}

export interface Diagnosis {
  findings: Finding[]
  /** Those with something wrong, as `level id`. */
  wrong: string[]
}

export async function diagnosed(options: DoctorOptions): Promise<Diagnosis> {
  const findings = await diagnose(options)
  const wrong = findings.filter(({ level }) => level !== 'ok').map(({ level, id }) => `${level} ${id}`)
  return { findings, wrong }
}
