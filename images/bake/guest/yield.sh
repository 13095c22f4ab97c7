#!/bin/sh
# Carries out the order in `yield`, and repeats it in `yielded`: a server steps down, or serves again.
set -eu
root=${EVERGREEN_ROOT-}
orders=$root/etc/evergreen
data=$root/var/lib/rancher/rke2
# Seconds until the balancer has counted its strikes (three, a second each) and what is under way has ended.
drain=${EVERGREEN_DRAIN_SECONDS-5}

# Balancers that look at the port alone see it closed. Nodes and operators reach this server as before.
refuse_balancers() {
  [ -s "$orders/balancers" ] || return 0
  nft -f - <<END
table inet evergreen
delete table inet evergreen
table inet evergreen {
  set balancers { type ipv4_addr; elements = { $(grep -v : "$orders/balancers" | paste -s -d , - | sed 's/^$/0.0.0.0/') } }
  set balancers6 { type ipv6_addr; elements = { $(grep : "$orders/balancers" | paste -s -d , - | sed 's/^$/::/') } }
  chain input {
    type filter hook input priority -10; policy accept;
    ip saddr @balancers tcp dport { 6443, 9345 } ct state new reject with tcp reset
    ip6 saddr @balancers6 tcp dport { 6443, 9345 } ct state new reject with tcp reset
  }
}
END
}

etcd() {
  timeout 20 crictl exec "$container" etcdctl --endpoints https://127.0.0.1:2379 \
    --cacert /var/lib/rancher/rke2/server/tls/etcd/server-ca.crt \
    --cert /var/lib/rancher/rke2/server/tls/etcd/server-client.crt \
    --key /var/lib/rancher/rke2/server/tls/etcd/server-client.key "$@"
}

hand_over_leadership() {
  export PATH="$data/bin:$PATH" CRI_CONFIG_FILE="$data/agent/etc/crictl.yaml"
  container=$(timeout 20 crictl ps --quiet --label io.kubernetes.container.name=etcd)
  # A server without etcd leads nothing.
  [ -n "$container" ] || return 0
  etcd endpoint status --write-out json >"$root/run/evergreen/status.json"
  etcd member list --write-out json >"$root/run/evergreen/members.json"
  heir=$(python3 "$root/usr/lib/evergreen/lead.py" "$root/run/evergreen/status.json" "$root/run/evergreen/members.json")
  [ -n "$heir" ] || return 0
  etcd move-leader "$heir"
  echo "etcd leadership was handed over to $heir"
}

step_down() {
  : >"$root/run/evergreen/yielding"
  systemctl is-active --quiet rke2-server.service || return 0
  refuse_balancers
  sleep "$drain"
  hand_over_leadership
}

serve_again() {
  rm -f "$root/run/evergreen/yielding"
  if nft list table inet evergreen >/dev/null 2>&1; then nft delete table inet evergreen; fi
}

mkdir -p "$root/run/evergreen"
until [ "$(cat "$orders/yield")" = "$(cat "$orders/yielded" 2>/dev/null || echo none)" ]; do
  order=$(cat "$orders/yield")
  if [ -n "$order" ]; then step_down; else serve_again; fi
  printf '%s\n' "$order" >"$orders/yielded.new"
  mv "$orders/yielded.new" "$orders/yielded"
done
