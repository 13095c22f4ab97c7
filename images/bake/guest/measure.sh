#!/bin/sh
# Measures what the image is made of: packages, and the SHA-256 of every protected file. Usage: measure DIRECTORY
# Prints the digests of both lists as JSON.
set -eu
root=${EVERGREEN_ROOT-}
export LC_ALL=C
mkdir -p "$1"
# A package that was removed, and whose settings were left, is listed too.
dpkg-query -W -f '${db:Status-Status} ${Package}\t${Version}\t${Architecture}\n' | sed -n 's/^installed //p' | sort \
  >"$1/packages"
(cd "$root/" && find boot etc usr -xdev -type f -print0 | grep -zEvf "$root/usr/lib/evergreen/unprotected" | sort -z |
  xargs -0 sha256sum) >"$1/files"
chmod 600 "$1/packages" "$1/files"
digest() {
  sha256sum <"$1" | cut -d ' ' -f 1
}
printf '{"packages":"%s","files":"%s"}\n' "$(digest "$1/packages")" "$(digest "$1/files")"
