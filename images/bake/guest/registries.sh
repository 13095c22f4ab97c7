#!/bin/sh
# Restarts RKE2 with the registries.yaml that registries.reload names, and repeats that in registries.loaded.
set -eu
cd "${EVERGREEN_ROOT-}/etc/evergreen"
config=${EVERGREEN_ROOT-}/etc/rancher/rke2/registries.yaml

# Not try-restart: it does nothing for an RKE2 that still starts, as one does that can pull nothing.
restart() {
  if [ "$(systemctl is-active "$1")" = inactive ]; then return; fi
  # One that fails is started again and again, by systemd; its pods go on.
  timeout 30 systemctl restart "$1" || true
  until systemctl is-active --quiet "$1"; do
    if [ "$wish" != "$(cat registries.reload)" ]; then return; fi
    if [ "$(systemctl show -P NRestarts "$1")" -ge 3 ]; then report_failure "$1"; fi
    sleep 1
  done
}

# Once for each wish: whoever waits ends with this, and systemd tries on.
report_failure() {
  if [ "$(head -n 1 registries.failed 2>/dev/null)" = "$wish" ]; then return; fi
  { echo "$wish" && journalctl -u "$1" -n 15 -o cat; } >registries.why
  mv registries.why registries.failed
}

until [ "$(cat registries.reload)" = "$(cat registries.loaded 2>/dev/null)" ]; do
  wish=$(cat registries.reload)
  if [ "$wish" != "$(sha256sum <registries.yaml | cut -d ' ' -f 1)" ]; then
    echo "registries.yaml does not have the hash that registries.reload names" >&2
    exit 1
  fi
  install -D -m 600 registries.yaml "$config"
  for unit in rke2-server rke2-agent; do restart "$unit"; done
  if [ "$wish" = "$(cat registries.reload)" ]; then printf %s "$wish" >registries.loaded; fi
done
