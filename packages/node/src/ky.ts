export { type AuthenticatedKyOptions, authenticatedKy } from '@keyturn/core/ky'
