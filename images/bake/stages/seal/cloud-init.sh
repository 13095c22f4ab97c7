# shellcheck shell=sh disable=SC2115,SC2154
# A clone is another instance: cloud-init begins anew, with another network.
cloud-init clean --logs --seed
rm -rf "$root"/var/lib/cloud/* "$root"/run/cloud-init
rm -f "$root"/etc/netplan/50-cloud-init.yaml "$root"/etc/systemd/network/10-cloud-init-*
rm -f "$root"/etc/network/interfaces.d/50-cloud-init
rm -f "$root"/etc/ssh/sshd_config.d/50-cloud-init.conf "$root"/etc/sudoers.d/90-cloud-init-users
