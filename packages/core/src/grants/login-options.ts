/** What one login asks for (OpenID Connect Core section 3.1.2.1). */
export interface LoginOptions {
  /** Any JSON value; comes back from `handleCallback()`. */
  appState?: unknown
  /** Asked for besides the source's own (RFC 6749 section 3.3), as after a challenge. */
  scope?: string | undefined
  /** OpenID Connect Core section 3.1.2.1. */
  prompt?: string | undefined
  /** OpenID Connect Core section 3.1.2.1. */
  loginHint?: string | undefined
  /** OpenID Connect Core section 3.1.2.1. */
  acrValues?: string | undefined
  /** Seconds since the person last proved who they are (OpenID Connect Core section 3.1.2.1). */
  maxAge?: number | undefined
  /** Extra authorization-request parameters. They never replace the protocol's own. */
  parameters?: Record<string, string> | undefined
}

/** How a sign-out ends. */
export interface LogoutOptions {
  /** OpenID Connect RP-Initiated Logout section 2. */
  postLogoutRedirectUri?: string | undefined
  /** `false`: stay here; the session ends here and its tokens are revoked, the server's own session goes on. */
  endSession?: boolean | undefined
}

/** A login that has just come back. */
export interface LoginResult {
  readonly appState?: unknown
}
