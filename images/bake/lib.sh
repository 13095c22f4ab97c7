# shellcheck shell=sh disable=SC2154
# What every stage begins with: the settings of the bake, the data of the distribution, and a few functions.
# `bake` is the directory of the bake, `root` is empty in a guest and a directory in tests.
# shellcheck source=/dev/null
. "$bake/settings"
# shellcheck source=/dev/null
. "$root/etc/os-release"

# Ends the stage. The trace has the message as the command that failed.
refuse() {
  { set +x; } 2>/dev/null
  printf 'evergreen: %s\n' "$1"
  exit 1
}

[ -f "$bake/distributions/$ID.sh" ] || refuse "no data for the distribution $ID: images/bake/distributions has none"
# shellcheck source=/dev/null
. "$bake/distributions/$ID.sh"

# The lines of one of the definition's lists.
entries() {
  sed -e '/^[[:space:]]*$/d' "$bake/lists/$1"
}

# apt-get, which waits for the lock of others, and never for ever.
apt() {
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 timeout --foreground -k 30 1800 apt-get -q -y \
    -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
    "$@" </dev/null
}

# Downloads an address into a file. A server that sends nothing for a minute has failed.
fetch() {
  curl --fail --silent --show-error --location --connect-timeout 20 --speed-limit 1 --speed-time 60 --max-time 1800 \
    --retry 3 --retry-delay 2 --output "$2" "$1"
}

# Writes standard input to a file, whose directory is made.
write() {
  mkdir -p "$(dirname "$1")"
  cat >"$1"
}

# Runs a command every second until it succeeds, or for so many seconds.
await() {
  seconds=$1
  shift
  until "$@" >/dev/null 2>&1; do
    seconds=$((seconds - 1))
    [ "$seconds" -gt 0 ] || refuse "waited in vain for: $*"
    sleep 1
  done
}
