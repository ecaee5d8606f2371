export { type StoreCheck, type StoreUnderTest, tokenStoreContract } from './testing/store-contract.ts'
