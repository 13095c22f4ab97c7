# shellcheck shell=sh disable=SC2115,SC2154
# What makes a machine this one and no other.

# Services that write what is removed here when they stop, which they do at power off.
for unit in systemd-random-seed systemd-update-utmp; do
  write "$root/run/systemd/system/$unit.service.d/evergreen-seal.conf" <<'END'
[Service]
ExecStop=
END
done
systemctl daemon-reload
systemctl stop "$time_unit"

# Empty, never `uninitialized`: the next boot would be a first boot, which enables every unit that can be, RKE2 too.
: >"$root/etc/machine-id"
rm -f "$root/var/lib/dbus/machine-id"
: >"$root/etc/hostname"
rm -f "$root"/etc/ssh/ssh_host_*
rm -f "$root/var/lib/systemd/random-seed" "$root/var/lib/systemd/credential.secret" "$root/var/lib/systemd/timesync/clock"
rm -f "$root"/root/.ssh/authorized_keys "$root"/home/*/.ssh/authorized_keys
rm -rf "$root"/etc/rancher/node "$root"/etc/evergreen/join.* "$root"/etc/evergreen/yield* "$root"/etc/evergreen/registr*
# The day on which an account was made is the day of the bake: the archive's, so that two bakes are alike.
awk -F : -v OFS=: -v day="$ARCHIVE_DAY" '$3 > day { $3 = day } { print }' "$root/etc/shadow" >"$bake/shadow"
cat "$bake/shadow" >"$root/etc/shadow"
for name in passwd shadow group gshadow subuid subgid; do rm -f "$root/etc/$name-"; done
