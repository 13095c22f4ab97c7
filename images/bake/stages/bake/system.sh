# shellcheck shell=sh disable=SC2154
# What a node of Kubernetes needs of its host.

# No swap, now and after any boot.
swapoff -a
sed -i '/^[^#].*[[:space:]]swap[[:space:]]/s/^/# /' "$root/etc/fstab"
rm -f "$root/swap.img" "$root/swapfile"
systemctl mask swap.target

systemctl enable "$time_unit"

# needrestart restarts what uses a library that was replaced: never RKE2, whose pods nobody has evicted then.
write "$root/etc/needrestart/conf.d/90-evergreen.conf" <<'END'
$nrconf{restart} = 'l';
$nrconf{override_rc}{qr(^rke2-)} = 0;
END

# Loaded and set now: a module or a name that the kernel does not have fails the bake, not the nodes.
entries modules | xargs -r -n 1 modprobe
entries modules | write "$root/etc/modules-load.d/90-evergreen.conf"
entries sysctl | write "$root/etc/sysctl.d/90-evergreen.conf"
sysctl -q -p "$root/etc/sysctl.d/90-evergreen.conf"
if [ -s "$bake/lists/kernel-parameters" ]; then
  # shellcheck disable=SC2016 # grub expands it
  printf 'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX %s"\n' "$(entries kernel-parameters | paste -s -d ' ' -)" |
    write "$root/etc/default/grub.d/90-evergreen.cfg"
  update-grub
fi

# The guest agent is the way in: no password opens anything, and no SSH server answers unless it was asked for.
awk -F : '$2 !~ /^[!*]/ { print $1 }' "$root/etc/shadow" | xargs -r -n 1 passwd --quiet --lock
if [ "$SSH" = no ]; then
  for name in $ssh_packages; do
    # shellcheck disable=SC2016 # dpkg expands it
    status=$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null || :)
    if [ "$status" = installed ]; then apt purge --no-auto-remove "$name"; fi
  done
  rm -f "$root"/etc/ssh/ssh_host_*
fi
# A clone keeps the sources that the image was sealed with, and lets nobody in by password.
write "$root/etc/cloud/cloud.cfg.d/90-evergreen.cfg" <<'END'
apt: { preserve_sources_list: true }
ssh_pwauth: false
disable_root: true
END
