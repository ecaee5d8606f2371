import { text } from 'node:stream/consumers'
import type Provider from 'oidc-provider'
import type { Configuration, Interaction, InteractionResults, KoaContextWithOIDC } from 'oidc-provider'
import { isPasswordOf, isSecondFactor } from './accounts.ts'
import { TWO_FACTORS, wantsTwoFactors } from './sign-in-strength.ts'

type DeviceFlow = NonNullable<NonNullable<Configuration['features']>['deviceFlow']>
type RPInitiatedLogout = NonNullable<NonNullable<Configuration['features']>['rpInitiatedLogout']>

const style = `
  :root { color-scheme: light dark }
  body { margin: 0; min-height: 100vh; display: grid; place-items: center; font: 16px/1.5 system-ui, sans-serif;
    color: light-dark(#1c1e21, #e8eaed); background: light-dark(#f2f4f7, #15171a) }
  main { width: min(20rem, 80vw); padding: 2rem; border-radius: .75rem; background: light-dark(#fff, #212429);
    box-shadow: 0 1px 3px #0003 }
  h1 { margin: 0 0 1rem; font-size: 1.25rem }
  form { display: grid; gap: .75rem; margin-top: 1rem }
  label { display: grid; gap: .25rem; font-size: .875rem }
  input, button { font: inherit; padding: .5rem .75rem; border-radius: .375rem; color: inherit;
    border: 1px solid light-dark(#b9c0ca, #4a5058); background: light-dark(#fff, #15171a) }
  button { width: 100%; margin-top: .75rem; cursor: pointer }
  form button { margin: 0 }
  button.primary { color: #fff; background: #2457d6; border-color: #2457d6 }
  [role=alert] { color: light-dark(#b3261e, #ff8a80) }`

const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' }
const escapeHtml = (value: unknown): string =>
  String(value).replace(/[&<>"']/g, (character) => entities[character] ?? '')

/** The response body of every page that a person sees. */
function page(title: string, content: string): string {
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(title)}</title>
<style>${style}
</style>
<main>
<h1>${escapeHtml(title)}</h1>
${content}
</main>
</html>
`
}

function loginPage({ params, session }: Interaction, alert = ''): string {
  const hasCode = wantsTwoFactors(params)
  const known = session?.accountId ?? ''
  return page(
    hasCode ? 'Prove that it is you' : 'Sign in',
    `<p>to continue to <strong>${escapeHtml(params.client_id)}</strong></p>
${alert && `<p role="alert">${escapeHtml(alert)}</p>`}
<form method="post">
<label>User name
<input name="username" autocomplete="username" value="${escapeHtml(known)}" required${known ? '' : ' autofocus'}></label>
<label>Password
<input name="password" type="password" autocomplete="current-password" required${known ? ' autofocus' : ''}></label>
${hasCode ? '<label>Code <input name="code" inputmode="numeric" autocomplete="one-time-code" required></label>' : ''}
<button class="primary">Sign in</button>
<button name="abort" value="yes" formnovalidate>Cancel</button>
</form>
<p><small>Try ada with lovelace, or alan with turing.${hasCode ? ' The code is 246810.' : ''}</small></p>`,
  )
}

function consentPage({ params }: Interaction): string {
  return page(
    'Allow access?',
    `<p><strong>${escapeHtml(params.client_id)}</strong> asks for access to your account:
<strong>${escapeHtml(params.scope)}</strong>.</p>
<form method="post">
<button class="primary">Allow</button>
<button name="abort" value="yes">Cancel</button>
</form>`,
  )
}

/** Serves `/interaction/{uid}`: a form to sign in, and a question only where the client sent `prompt=consent`. */
export function serveLoginPages(provider: Provider): void {
  provider.use(async (ctx, next) => {
    if (!ctx.path.startsWith('/interaction/')) return next()
    ctx.set('cache-control', 'no-store')
    const interaction = await provider.interactionDetails(ctx.req, ctx.res).catch(() => undefined)
    if (!interaction) {
      ctx.status = 400
      ctx.body = page('This sign-in is over', '<p>Go back to the application and start again.</p>')
      return
    }

    const { prompt, params } = interaction
    const form = ctx.method === 'POST' ? new URLSearchParams(await text(ctx.req)) : undefined
    const asks = prompt.name === 'login' || prompt.reasons.includes('consent_prompt')
    if (asks && !form) {
      ctx.body = prompt.name === 'login' ? loginPage(interaction) : consentPage(interaction)
      return
    }

    let result: InteractionResults
    if (form?.has('abort')) {
      result = { error: 'access_denied', error_description: 'the user said no' }
    } else if (prompt.name === 'login') {
      const username = form?.get('username') ?? ''
      if (!isPasswordOf(username, form?.get('password') ?? '')) {
        ctx.status = 401
        ctx.body = loginPage(interaction, 'That user name and password do not match.')
        return
      }
      const isStrong = wantsTwoFactors(params)
      if (isStrong && !isSecondFactor(form?.get('code') ?? '')) {
        ctx.status = 401
        ctx.body = loginPage(interaction, 'That is not the code.')
        return
      }
      result = { login: { accountId: username, ...(isStrong && { acr: TWO_FACTORS }) } }
    } else {
      result = { consent: { grantId: await grantWhatIsMissing(provider, interaction) } }
    }
    ctx.status = 303
    ctx.redirect(await provider.interactionResult(ctx.req, ctx.res, result))
  })
}

async function grantWhatIsMissing(provider: Provider, interaction: Interaction): Promise<string> {
  const { details } = interaction.prompt
  const grant =
    (interaction.grantId && (await provider.Grant.find(interaction.grantId))) ||
    new provider.Grant({
      ...(interaction.session && { accountId: interaction.session.accountId }),
      clientId: String(interaction.params.client_id),
    })
  if (isNames(details.missingOIDCScope)) grant.addOIDCScope(details.missingOIDCScope)
  if (isNames(details.missingOIDCClaims)) grant.addOIDCClaims(details.missingOIDCClaims)
  for (const [resource, scopes] of Object.entries(details.missingResourceScopes ?? {})) {
    if (isNames(scopes)) grant.addResourceScope(resource, scopes)
  }
  return grant.save()
}

function isNames(value: unknown): value is string[] {
  return Array.isArray(value)
}

/** The pages of the device authorization grant (RFC 8628 section 3.3). */
export const devicePages: Pick<DeviceFlow, 'userCodeInputSource' | 'userCodeConfirmSource' | 'successSource'> = {
  userCodeInputSource(ctx, form, _out, error) {
    ctx.body = page(
      'Connect a device',
      `<p>Enter the code that the device shows.</p>
${error ? '<p role="alert">That code does not work.</p>' : ''}
${form}
<button class="primary" form="op.deviceInputForm">Continue</button>`,
    )
  },
  userCodeConfirmSource(ctx, form, client, _deviceInfo, userCode) {
    ctx.body = page(
      'Connect a device',
      `<p>Does <strong>${escapeHtml(client.clientId)}</strong> show the code <strong>${escapeHtml(userCode)}</strong>?</p>
${form}
<button class="primary" form="op.deviceConfirmForm">Yes, continue</button>
<button name="abort" value="yes" form="op.deviceConfirmForm">Cancel</button>`,
    )
  },
  successSource(ctx) {
    ctx.body = page('Connected', '<p>You can go back to the device.</p>')
  },
}

/** The pages of RP-initiated logout (OpenID Connect RP-Initiated Logout 1.0). */
export const logoutPages: Pick<RPInitiatedLogout, 'logoutSource' | 'postLogoutSuccessSource'> = {
  logoutSource(ctx, form) {
    ctx.body = page(
      'Sign out?',
      `${form}
<button class="primary" name="logout" value="yes" form="op.logoutForm">Sign out</button>
<button form="op.logoutForm">Stay signed in</button>`,
    )
  },
  postLogoutSuccessSource(ctx) {
    ctx.body = page('Signed out', '<p>You can close this page.</p>')
  },
}

/** What a person sees of an error that cannot be sent back to the client. */
export function errorPage(
  ctx: KoaContextWithOIDC,
  out: { error: string; error_description?: string | undefined },
): void {
  ctx.type = 'html'
  ctx.body = page(
    'This did not work',
    `<p>${escapeHtml(out.error_description)}</p><p><code>${escapeHtml(out.error)}</code></p>`,
  )
}
