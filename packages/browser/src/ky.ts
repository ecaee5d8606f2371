export * from '@keyturn/core/ky'
