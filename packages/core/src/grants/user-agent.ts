/** Where a person meets the authorization server: a browser's page, or what stands in for one. */
export interface UserAgent {
  readonly url: string
  navigate(url: string): void | Promise<void>
  /** Replaces what the address bar shows, without a navigation. */
  replaceUrl(url: string): void
  /** Calls `listener` when the page is shown again or the network has come back; returns the way to stop that. */
  watch?(listener: () => void): () => void
  /** Gives a response to the window that waits for it, and closes this one; resolves with whether any took it. */
  handOver?(state: string, response: string): Promise<boolean | undefined>
}
