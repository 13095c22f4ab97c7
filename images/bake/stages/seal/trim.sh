# shellcheck shell=sh disable=SC2154
# Freed blocks go back to the storage, where it takes them; the rest is on the disk before the power is off.
fstrim -a || printf 'evergreen: the disk does not take back what was freed\n'
sync
