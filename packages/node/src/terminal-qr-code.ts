import { encode } from 'uqr'

/** Light modules around the code, which readers need to find it. */
const MARGIN = 2
/** Black on bright white, whatever the terminal's own colours are; and back. */
const BLACK_ON_WHITE = '\u001b[30;107m'
const RESET = '\u001b[0m'
/** The longest text that a QR code holds at its lowest correction level, in bytes (ISO/IEC 18004). */
const LONGEST = 2953

/**
 * A QR code as lines for a terminal, two modules to a character; undefined where it is wider than `columns`. Without
 * `color` the light modules are drawn, as it has to be where the terminal is dark.
 */
export function terminalQrCode(text: string, columns: number, color: boolean): string[] | undefined {
  if (Buffer.byteLength(text) > LONGEST) return undefined
  const { size, data } = encode(text, { ecc: 'L', border: MARGIN })
  if (size > columns) return undefined
  const isInk = (row: number, column: number) => (row < size && data[row]?.[column] === true) === color
  return Array.from({ length: Math.ceil(size / 2) }, (_, line) => {
    const characters = Array.from({ length: size }, (_, column) => {
      const [above, below] = [isInk(2 * line, column), isInk(2 * line + 1, column)]
      if (above) return below ? '█' : '▀'
      return below ? '▄' : ' '
    })
    return color ? `${BLACK_ON_WHITE}${characters.join('')}${RESET}` : characters.join('')
  })
}
