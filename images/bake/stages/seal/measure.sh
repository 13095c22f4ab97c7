# shellcheck shell=sh disable=SC2154
# What the record of the image says is in it, and what its clones are measured against.
"$root/usr/lib/evergreen/measure" "$root/var/lib/evergreen/record"
