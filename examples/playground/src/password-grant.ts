import type Provider from 'oidc-provider'
import { errors } from 'oidc-provider'
import { findAccount, isPasswordOf } from './accounts.ts'
import type { Api } from './provider-configuration.ts'
import { identityScopes, resourceServer } from './provider-configuration.ts'

/**
 * Teaches the provider `grant_type=password` (RFC 6749 section 4.3). `resource` chooses the access token's API;
 * the refresh token is good for all of them.
 */
export function registerPasswordGrant(provider: Provider, apis: Api[], accessTokenTTL: () => number): void {
  provider.registerGrantType<{ username?: string; password?: string }>(
    'password',
    async (ctx) => {
      const { client, params } = ctx.oidc
      const { username = '', password = '', resource = [] } = params
      const account = isPasswordOf(username, password) ? findAccount(ctx, username) : undefined
      if (!account) throw new errors.InvalidGrant('wrong user name or password')

      const known = [...identityScopes, ...apis.flatMap((api) => api.scopes)]
      const scopes = params.scope?.split(' ').filter((scope) => known.includes(scope)) ?? known
      const identity = identityScopes.filter((scope) => scopes.includes(scope))
      const [requested, another] = [resource].flat()
      if (another) throw new errors.InvalidTarget('one resource at a time')
      const api = requested ? apis.find((api) => api.resource === requested) : apis[0]
      if (requested && !api) throw new errors.InvalidTarget()

      const { accountId } = account
      const grant = new provider.Grant({ accountId, clientId: client.clientId })
      grant.addOIDCScope(identity)
      for (const { resource, scopes: own } of apis) {
        grant.addResourceScope(
          resource,
          own.filter((scope) => scopes.includes(scope)),
        )
      }
      const source = { client, accountId, grantId: await grant.save(), gty: 'password' }

      const accessToken = new provider.AccessToken(source)
      if (api && (requested || identity.length < scopes.length)) {
        accessToken.resourceServer = new provider.ResourceServer(api.resource, resourceServer(api, accessTokenTTL()))
        accessToken.scope = grant.getResourceScopeFiltered(api.resource, scopes)
      } else {
        accessToken.scope = identity.join(' ')
      }
      ctx.oidc.entity('AccessToken', accessToken)

      const refreshToken = new provider.RefreshToken({
        ...source,
        scope: scopes.join(' '),
        resource: apis.map((api) => api.resource),
        rotations: 0,
      })
      const idToken = new provider.IdToken(await account.claims('id_token', identity.join(' '), {}, []), { ctx })
      Object.assign(idToken, { scope: identity.join(' ') })

      ctx.body = {
        access_token: await accessToken.save(),
        token_type: accessToken.tokenType,
        expires_in: accessToken.expiration,
        scope: accessToken.scope,
        refresh_token: await refreshToken.save(),
        ...(identity.includes('openid') && { id_token: await idToken.issue({ use: 'idtoken' }) }),
      }
    },
    ['username', 'password', 'scope', 'resource'],
    ['resource'],
  )
}
