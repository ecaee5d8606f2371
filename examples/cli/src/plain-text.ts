/** What others wrote, such as their names, as one line that cannot steer a terminal. */
export function plainText(text: unknown): string {
  return String(text).replace(/\p{Cc}/gu, ' ')
}
