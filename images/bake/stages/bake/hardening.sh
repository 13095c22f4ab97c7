# shellcheck shell=sh disable=SC2154
# What RKE2's `profile: cis` asks of its host before its first start (RKE2's hardening guide).
if [ "$HARDENING" = cis ]; then
  getent passwd etcd >/dev/null || useradd -r -c "etcd user" -s /sbin/nologin -M etcd -U
  install -D -m 644 "$root/usr/local/share/rke2/rke2-cis-sysctl.conf" "$root/etc/sysctl.d/60-rke2-cis.conf"
  sysctl -q -p "$root/etc/sysctl.d/60-rke2-cis.conf"
  # RKE2 writes a policy that records nothing when there is none.
  if [ ! -f "$root/etc/rancher/rke2/audit-policy.yaml" ]; then
    install -D -m 600 "$bake/guest/audit-policy.yaml" "$root/etc/rancher/rke2/audit-policy.yaml"
  fi
fi
