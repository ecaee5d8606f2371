export * from '@keyturn/core'
export { type FileStoreOptions, fileStore } from './file-store.ts'
export type { FileKey } from './record-cipher.ts'
