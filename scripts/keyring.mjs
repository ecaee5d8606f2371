// A real keyring for the tests: GNOME's, on a D-Bus of its own, in a folder of its own. The programs are those of the machine
// or Debian's packages, unpacked without root. Throws where neither is to be had.
import { existsSync, mkdirSync, readdirSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { unpackedPackages } from './debian-packages.mjs'

/** What they need besides what every Debian has. */
const packages = [
  ...['gnome-keyring', 'libgck-1-0', 'libgcr-base-3-1', 'libglib2.0-0', 'libp11-kit0', 'libcap-ng0', 'libffi8'],
  ...['dbus-bin', 'dbus-daemon', 'dbus-session-bus-common', 'libdbus-1-3', 'libapparmor1', 'libaudit1', 'libexpat1'],
]

/** The command that runs `command` with an unlocked keyring that is kept in `folder`, and its environment. */
export function withKeyring(folder, command) {
  const path = (process.env.PATH ?? '').split(delimiter)
  const has = (name) => path.some((one) => existsSync(join(one, name)))
  const root =
    has('gnome-keyring-daemon') && has('dbus-run-session') ? undefined : unpackedPackages('keyring', packages)
  const libraries =
    root === undefined ? [] : readdirSync(join(root, 'usr/lib')).map((name) => join(root, 'usr/lib', name))
  const runtime = join(folder, 'run')
  mkdirSync(runtime, { recursive: true, mode: 0o700 })
  const start = 'printf password | gnome-keyring-daemon --unlock --components=secrets >/dev/null 2>&1; exec "$@"'
  const config = root === undefined ? [] : [`--config-file=${join(root, 'usr/share/dbus-1/session.conf')}`]
  return {
    command: ['dbus-run-session', ...config, '--', 'sh', '-c', start, 'sh', ...command],
    env: {
      ...process.env,
      PATH: [...(root === undefined ? [] : [join(root, 'usr/bin')]), ...path].join(delimiter),
      ...(root !== undefined && { LD_LIBRARY_PATH: libraries.join(delimiter), XDG_DATA_DIRS: join(root, 'usr/share') }),
      HOME: folder,
      XDG_DATA_HOME: folder,
      XDG_RUNTIME_DIR: runtime,
      DBUS_SESSION_BUS_ADDRESS: '',
    },
  }
}
