# shellcheck shell=sh disable=SC2115,SC2154
# Logs, leases, histories and caches, of which some have the hour of the bake in them.
journalctl --relinquish-var
rm -rf "$root"/var/log/journal/* "$root"/var/lib/dhcp/* "$root"/var/lib/NetworkManager/* "$root"/var/lib/systemd/network/*
rm -rf "$root"/var/lib/systemd/timers/* "$root"/var/lib/systemd/coredump/* "$root"/var/crash/*
find "$root/tmp" "$root/var/tmp" -mindepth 1 -maxdepth 1 ! -name 'systemd-private-*' -exec rm -rf {} +
find "$root/var/log" -type f \( -name '*.gz' -o -name '*.[0-9]' -o -name '*.old' \) -exec rm -f {} +
find "$root/var/log" -type f -exec truncate -s 0 {} +
rm -f "$root"/root/.*history "$root"/home/*/.*history "$root"/root/.viminfo "$root"/root/.lesshst "$root"/root/.wget-hsts
rm -f "$root"/var/cache/ldconfig/aux-cache "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old
rm -f "$root"/var/lib/ucf/*.[0-9]
