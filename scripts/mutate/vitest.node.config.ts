import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const root = fileURLToPath(new URL('../../', import.meta.url))

// The file store in this process: what the processes of other tests run is `dist`, in which there is no mutant.
export default defineConfig({
  root,
  resolve: {
    alias: ['core', 'node'].flatMap((name) => [
      { find: new RegExp(`^@keyturn/${name}$`), replacement: `${root}packages/${name}/src/index.ts` },
      { find: new RegExp(`^@keyturn/${name}/(ky|testing)$`), replacement: `${root}packages/${name}/src/$1.ts` },
    ]),
  },
  test: {
    include: [
      'packages/node/test/{file-error,turns,file-store,file-store-{damage,file,format,key,lock,troubles,watch}}.test.ts',
    ],
    environment: 'node',
    testTimeout: 10_000,
  },
})
