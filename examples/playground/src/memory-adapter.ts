import type { Adapter, AdapterFactory, AdapterPayload } from 'oidc-provider'

/** Everything that the authorization server remembers. */
export interface Memory {
  /** What oidc-provider stores its models through. */
  adapter: AdapterFactory
  /** Forgets every record of these models. */
  forget(models: string[]): void
}

/** A plain map for each model: oidc-provider's own memory drops records beyond a thousand, and with them sessions. */
export function createMemory(): Memory {
  const models = new Map<string, Map<string, AdapterPayload>>()

  function adapter(model: string): Adapter {
    const records = new Map<string, AdapterPayload>()
    models.set(model, records)
    const findBy = (key: 'uid' | 'userCode', value: string) =>
      [...records.values()].find((record) => record[key] === value)
    return {
      upsert: async (id, record) => void records.set(id, record),
      find: async (id) => records.get(id),
      findByUid: async (uid) => findBy('uid', uid),
      findByUserCode: async (userCode) => findBy('userCode', userCode),
      consume: async (id) => void Object.assign(records.get(id) ?? {}, { consumed: Math.floor(Date.now() / 1000) }),
      destroy: async (id) => void records.delete(id),
      revokeByGrantId: async (grantId) => {
        for (const [id, record] of records) if (record.grantId === grantId) records.delete(id)
      },
    }
  }

  return {
    adapter: (model) => adapter(model),
    forget: (names) => {
      for (const name of names) models.get(name)?.clear()
    },
  }
}
