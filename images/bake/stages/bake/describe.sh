# shellcheck shell=sh disable=SC2154
# What the image says of itself. The kernel is the one that the next boot has.
kernel=$(find "$root/boot" -maxdepth 1 -name 'vmlinuz-*' | sed 's:.*/vmlinuz-::' | sort -V | tail -n 1)
[ -n "$kernel" ] || refuse "no kernel in /boot"
sed "s/@KERNEL@/$kernel/" "$bake/image.json" | write "$root/etc/evergreen/image.json"
python3 -m json.tool "$root/etc/evergreen/image.json" >/dev/null
