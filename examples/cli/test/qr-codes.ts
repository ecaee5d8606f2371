import { createRequire } from 'node:module'

// Its types say that the function is a member of what it exports.
const decode: typeof import('jsqr').default = createRequire(import.meta.url)('jsqr')

const SCALE = 4

/**
 * What a camera reads of a QR code that is drawn with two modules to a character, one above the other, where ink is dark;
 * `inverted`: where it is light.
 */
export function scanned(lines: string[], inverted = false): string | undefined {
  const width = Math.max(...lines.map((line) => line.length)) * SCALE
  const height = lines.length * 2 * SCALE
  const pixels = new Uint8ClampedArray(width * height * 4).fill(255)
  for (let y = 0; y < height; y++) {
    const row = Math.floor(y / SCALE)
    for (let x = 0; x < width; x++) {
      const character = lines[row >> 1]?.[Math.floor(x / SCALE)]
      const isInked = character === '█' || character === (row % 2 ? '▄' : '▀')
      const at = (y * width + x) * 4
      if (isInked !== inverted) pixels.fill(0, at, at + 3)
    }
  }
  return decode(pixels, width, height, { inversionAttempts: 'dontInvert' })?.data
}
