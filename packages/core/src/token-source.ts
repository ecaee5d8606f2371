/** What anything that spends tokens needs: a place to ask for one. */
export interface TokenSource {
  /** A token that is valid now. Rejects with an `OAuthError`, or with the reason of an aborted `signal`. */
  getAccessToken(request?: AccessTokenRequest): Promise<string>
  /**
   * Sources that bind tokens to a key (DPoP, RFC 9449 section 7) sign here; a fetch prefers it where it exists, and asks
   * it for every attempt and every hop anew. `headers` hold `authorization`, where it is another than `Bearer`, and
   * whatever proves it; no redirect carries them on.
   */
  authorize?(
    request: AccessTokenRequest & { method: string; url: string },
  ): Promise<{ accessToken: string; headers: Record<string, string> }>
  /**
   * Told of every response to what `authorize` signed, before anybody reads it: to keep its nonce for the origin of `url`
   * (RFC 9449 section 8.2). Gives whether it was the proof that was refused and not the token (`use_dpop_nonce`, section
   * 9): then `authorize` is asked once more for the same request, and a refusal of the token may still follow. Reads the
   * headers, never the body.
   */
  observe?(answer: { url: string; response: Response }): boolean
}

/** Which token is wanted. Everything left out is the source's own. */
export interface AccessTokenRequest {
  /** Resource indicator (RFC 8707 section 2). */
  resource?: string | undefined
  /** Narrower or other scope (RFC 6749 section 3.3). */
  scope?: string | undefined
  /** Extra token-request parameters, such as `audience` for Auth0. */
  parameters?: Record<string, string> | undefined
  /** The token that an API refused: any valid token but this one is wanted. */
  rejectedToken?: string | undefined
  /** Abandons this caller's wait, never the renewal that others share. */
  signal?: AbortSignal | undefined
}
