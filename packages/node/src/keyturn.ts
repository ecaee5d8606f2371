#!/usr/bin/env node
// The command `keyturn`; nothing else of the package loads it.
import { doctor, USAGE, UsageError } from './doctor/command-line.ts'

const [command, ...args] = process.argv.slice(2)
const { stdout, stderr, env } = process

// Who reads may have seen enough (`| head`): that is no failure.
for (const stream of [stdout, stderr]) {
  stream.on('error', (error) => {
    if (Object(error).code !== 'EPIPE') throw error
  })
}

if (command === 'help' || command === '--help' || command === '-h' || args.includes('--help')) {
  stdout.write(USAGE)
} else if (command !== 'doctor') {
  stderr.write(USAGE)
  process.exitCode = 2
} else {
  const color = stdout.isTTY === true && stdout.hasColors() && !env.NO_COLOR
  try {
    process.exitCode = await doctor(args, { env, write: (text) => stdout.write(text), color })
  } catch (error) {
    if (!(error instanceof UsageError)) throw error
    stderr.write(`${error.message}\n\n${USAGE}`)
    process.exitCode = 2
  }
}
