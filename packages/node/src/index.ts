export * from '@keyturn/core'
export { type BackChannelLogoutOptions, backChannelLogout } from './back-channel-logout.ts'
export { type FileStoreOptions, fileStore } from './file-store.ts'
export type { FileKey } from './record-cipher.ts'
