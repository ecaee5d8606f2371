export * from '@keyturn/core'
