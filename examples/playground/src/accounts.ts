import type { Account } from 'oidc-provider'

const passwords = new Map([
  ['ada', 'lovelace'],
  ['alan', 'turing'],
])

/** Whether this is the password of that user. */
export function isPasswordOf(username: string, password: string): boolean {
  return passwords.get(username) === password
}

/** Whether this is the code of the second factor, which is everybody's here. */
export function isSecondFactor(code: string): boolean {
  return code === '246810'
}

/** The account of a user who exists, with the claims of OpenID Connect Core 5.4. */
export function findAccount(_ctx: unknown, sub: string): Account | undefined {
  if (!passwords.has(sub)) return undefined
  const name = sub[0]?.toUpperCase() + sub.slice(1)
  return {
    accountId: sub,
    claims: () => ({ sub, name, preferred_username: sub, email: `${sub}@example.test`, email_verified: true }),
  }
}
