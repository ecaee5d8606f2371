import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { root } from './sources.ts'

interface Locked {
  resolved?: string
  integrity?: string
  link?: boolean
}

const { packages }: { packages: Record<string, Locked> } = JSON.parse(readFileSync(`${root}package-lock.json`, 'utf8'))
const installed = Object.entries(packages).filter(([path]) => path.includes('node_modules/'))

test('the lock file names no registry: it installs from whichever one the machine uses', () => {
  expect(installed.filter(([, locked]) => /^\w+:/.test(locked.resolved ?? '')).map(([path]) => path)).toEqual([])
})

test('the lock file pins every package by its hash', () => {
  expect(installed.filter(([, { link, integrity }]) => !link && !integrity).map(([path]) => path)).toEqual([])
})
