import jsQR from 'jsqr'

const SCALE = 4

/** What a camera reads of a QR code on a screen whose ink is dark: every character is two modules, one above the other. */
export function scanned(lines: string[]): string | undefined {
  const width = Math.max(...lines.map((line) => line.length)) * SCALE
  const height = lines.length * 2 * SCALE
  const pixels = new Uint8ClampedArray(width * height * 4).fill(255)
  for (let y = 0; y < height; y++) {
    const row = Math.floor(y / SCALE)
    for (let x = 0; x < width; x++) {
      const character = lines[row >> 1]?.[Math.floor(x / SCALE)]
      const isDark = character === '█' || character === (row % 2 ? '▄' : '▀')
      if (isDark) pixels.fill(0, (y * width + x) * 4, (y * width + x) * 4 + 3)
    }
  }
  return jsQR(pixels, width, height, { inversionAttempts: 'dontInvert' })?.data
}
