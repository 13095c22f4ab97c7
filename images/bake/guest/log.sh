#!/bin/sh
# Keeps the last output of the join unit and of RKE2 in a file that the guest agent can read in one piece.
set -eu
log=${EVERGREEN_ROOT-}/var/log/evergreen/join.log
longest=60000
: >>"$log"
journalctl --boot --follow --lines 200 --output short-iso-precise --no-hostname \
  --unit evergreen-join --unit evergreen-yield --unit evergreen-registries --unit rke2-server --unit rke2-agent |
  while IFS= read -r line; do
    printf '%s\n' "$line" >>"$log"
    if [ "$(stat -c %s "$log")" -gt $((2 * longest)) ]; then
      tail -c "$longest" "$log" >"$log.new"
      # The same file: whoever has it open goes on reading.
      cat "$log.new" >"$log"
      rm "$log.new"
    fi
  done
