#!/bin/sh
# Carries out the order in join.ready: starts RKE2 with the join data, or wipes them. Runs at boot and when the order
# changes.
set -eu
umask 077
root=${EVERGREEN_ROOT-}
orders=$root/etc/evergreen
fragment=$root/etc/rancher/rke2/config.yaml.d/90-evergreen.yaml
data=$root/var/lib/rancher/rke2

sum_of() {
  sha256sum <"$1" | cut -d ' ' -f 1
}

wipe() {
  for role in server agent; do
    if systemctl cat "rke2-$role.service" >/dev/null 2>&1; then systemctl disable --now "rke2-$role.service"; fi
  done
  # RKE2's units leave their containers running.
  if [ -x "$root/usr/local/bin/rke2-killall.sh" ]; then "$root/usr/local/bin/rke2-killall.sh" >/dev/null 2>&1; fi
  rm -f "$fragment" "$orders/join.taken" "$root/etc/rancher/node/password"
  rm -f "$data"/agent/client-* "$data"/agent/serving-* "$data"/agent/server-ca.crt "$data"/agent/*.kubeconfig
  echo "join data wiped, RKE2 stopped"
}

# Takes the join data where only root reads them. What stays in their place is the address that the node joins through,
# for those who look after the registration address.
take() {
  install -D -m 600 "$orders/join.yaml" "$fragment.new"
  mv "$fragment.new" "$fragment"
  { echo "# taken" && sed -n '/^server:/p' "$orders/join.yaml"; } >"$orders/join.yaml.new"
  mv "$orders/join.yaml.new" "$orders/join.yaml"
}

start() {
  case $1 in server) other=agent ;; *) other=server ;; esac
  if systemctl is-enabled --quiet "rke2-$other.service"; then systemctl disable --now "rke2-$other.service"; fi
  systemctl enable --quiet "rke2-$1.service"
  # A node that has joined reads its configuration at its next start; one that still tries begins anew with it.
  if [ "$2" = same ] || systemctl is-active --quiet "rke2-$1.service"; then action=start; else action=restart; fi
  echo "$action of rke2-$1"
  systemctl "$action" --no-block "rke2-$1.service"
}

refuse() {
  echo "$1" >&2
  exit 1
}

obey() {
  role=${1%% *} sum=${1#* }
  case $role in server | agent) ;; *) sum="" ;; esac
  [ "${#sum}" -eq 64 ] || refuse "join.ready is not \`<server|agent> <sha256 of join.yaml>\`"
  taken=$(cat "$orders/join.taken" 2>/dev/null || :)
  if [ -f "$orders/join.yaml" ] && [ "$(sum_of "$orders/join.yaml")" = "$sum" ]; then
    take
  elif [ "$taken" != "$sum" ] || [ ! -f "$fragment" ]; then
    refuse "join.yaml does not have the hash that join.ready names"
  fi
  printf '%s\n' "$sum" >"$orders/join.taken"
  if [ "$taken" = "$sum" ]; then start "$role" same; else start "$role" new; fi
}

# The agent empties a file before it writes it: an order without text counts only beside join data without any.
is_wipe() {
  [ -z "$1" ] && [ -f "$orders/join.yaml" ] && [ ! -s "$orders/join.yaml" ]
}

patience=30
while [ -f "$orders/join.ready" ]; do
  order=$(cat "$orders/join.ready")
  if is_wipe "$order"; then
    wipe
  elif [ -n "$order" ]; then
    obey "$order"
  else
    patience=$((patience - 1))
    [ "$patience" -gt 0 ] || refuse "join.ready is empty, and join.yaml is not"
    sleep 1
    continue
  fi
  # A change while this ran starts nothing: look again.
  if [ "$order" = "$(cat "$orders/join.ready")" ]; then break; fi
done
