#!/bin/bash
# Makes the base of the reality check: a Debian guest with cloud-init and the guest agent, trimmed for QEMU without KVM.
# Usage: base.sh DIRECTORY PACKAGE...: writes base.qcow2 (one ext4 file system), vmlinux, initrd, and into debs/ the packages
# that the bake will install. Needs root, and the programs that `needs` of base.ts names.
set -euo pipefail
out=$1
shift
suite=trixie
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out/debs"

# On an emulated core every module of cloud-init costs up to a second, and every unit a tenth.
cat >"$work/cloud.cfg" <<'END'
datasource_list: [NoCloud, None]
system_info: { network: { renderers: [networkd] } }
ssh_genkeytypes: [ed25519]
cloud_init_modules: [bootcmd, write_files, growpart, resizefs, set_hostname, update_hostname, users_groups, ssh]
cloud_config_modules: [apt_configure, runcmd]
cloud_final_modules: [write_files_deferred, scripts_user, final_message]
END
units='systemd-binfmt.service ldconfig.service systemd-hwdb-update.service systemd-journal-catalog-update.service
systemd-update-done.service systemd-tmpfiles-setup-dev-early.service systemd-pcrextend.socket systemd-pcrlock.socket
systemd-pcrmachine.service systemd-tpm2-setup.service systemd-tpm2-setup-early.service systemd-hibernate-clear.service
systemd-pstore.service dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service man-db.timer fstrim.timer
getty@tty1.service serial-getty@ttyS0.service getty-static.service systemd-update-utmp.service systemd-rfkill.service
modprobe@drm.service modprobe@configfs.service modprobe@fuse.service modprobe@efi_pstore.service modprobe@dm_mod.service
modprobe@loop.service sys-kernel-config.mount sys-fs-fuse-connections.mount sys-kernel-debug.mount
sys-kernel-tracing.mount dev-hugepages.mount dev-mqueue.mount keyboard-setup.service console-setup.service
systemd-networkd-persistent-storage.service'
printf '%s\n' "$units" | tr ' ' '\n' >"$work/masked"
printf '%s\n' "$@" >"$work/wanted"

# The last step before apt forgets its lists: what the bake will install is fetched, and not installed.
cat >"$work/customize" <<'END'
#!/bin/bash
set -euo pipefail
root=$1 work=$2 out=$3
echo "/dev/vda / ext4 defaults,discard 0 1" >"$root/etc/fstab"
cp "$work/cloud.cfg" "$root/etc/cloud/cloud.cfg.d/99-test-guest.cfg"
while read -r unit; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done <"$work/masked"
rm -f "$root"/etc/ssh/ssh_host_*
chroot "$root" systemctl -q enable systemd-networkd.service
mapfile -t wanted <"$work/wanted"
chroot "$root" apt-get -q -y --no-install-recommends --download-only install "${wanted[@]}"
mv "$root"/var/cache/apt/archives/*.deb "$out/debs/"
END
chmod +x "$work/customize"

include=systemd,systemd-sysv,systemd-resolved,dbus,udev,iproute2,e2fsprogs,kmod,procps,cloud-init,cloud-guest-utils
mmdebstrap --quiet --variant=apt --mode=root --format=directory --dpkgopt=force-unsafe-io \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
  --dpkgopt='path-exclude=/usr/share/locale/*' --aptopt='APT::Install-Recommends "false"' \
  --include=$include,openssh-server,qemu-guest-agent,ca-certificates,linux-image-cloud-amd64,initramfs-tools- \
  --customize-hook="'$work/customize' \"\$1\" '$work' '$out'" \
  "$suite" "$work/root"

# The kernel is booted directly and uncompressed (PVH): unpacking it on an emulated core takes half a minute.
python3 - "$work"/root/boot/vmlinuz-* "$work/payload" <<'END'
import struct, sys
image = open(sys.argv[1], "rb").read()
start = (image[0x1F1] + 1) * 512
offset, length = struct.unpack("<II", image[0x248:0x250])
open(sys.argv[2], "wb").write(image[start + offset : start + offset + length - 4])
END
case $(od -An -tx1 -N4 "$work/payload" | tr -d ' ') in
  28b52ffd) zstd -qdc "$work/payload" ;;
  fd377a58) xz -dc "$work/payload" ;;
  02214c18) lz4 -dc "$work/payload" ;;
  *) echo "the kernel is compressed in a way that is not known here" >&2 && exit 1 ;;
esac >"$out/vmlinux"

# An initrd with nothing but the modules that the root file system needs, in the order of their dependencies.
mkdir -p "$work"/initrd/{bin,dev,root,m}
cp "$(command -v busybox)" "$work/initrd/bin/busybox"
kernel=$(basename "$work"/root/lib/modules/*)
for name in virtio_pci virtio_blk ext4; do
  chroot "$work/root" modprobe -S "$kernel" --show-depends "$name"
done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$work/modules"
n=10
while read -r module; do
  n=$((n + 1))
  case $module in
    *.xz) xz -dc "$work/root$module" ;;
    *.zst) zstd -qdc "$work/root$module" ;;
    *) cat "$work/root$module" ;;
  esac >"$work/initrd/m/$n.ko"
done <"$work/modules"
cat >"$work/initrd/init" <<'END'
#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
for module in /m/*.ko; do /bin/busybox insmod $module; done
tries=0
while [ ! -b /dev/vda ] && [ $tries -lt 100 ]; do /bin/busybox usleep 50000; tries=$((tries + 1)); done
/bin/busybox mount -t ext4 -o rw /dev/vda /root && exec /bin/busybox switch_root /root /sbin/init
END
chmod +x "$work/initrd/init"
(cd "$work/initrd" && find . | LC_ALL=C sort | cpio -o -H newc --quiet) >"$out/initrd"

truncate -s 3G "$work/disk"
mke2fs -q -t ext4 -L root -d "$work/root" -E lazy_itable_init=1,lazy_journal_init=1 "$work/disk"
# Last: whoever finds it finds a whole base.
qemu-img convert -O qcow2 "$work/disk" "$out/base.qcow2.new"
mv "$out/base.qcow2.new" "$out/base.qcow2"
