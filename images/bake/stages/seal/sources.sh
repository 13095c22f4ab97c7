# shellcheck shell=sh disable=SC2115,SC2154
# The site's sources of packages come back; what the bake has downloaded goes.
rm -f "$root/etc/apt/sources.list.d/evergreen-bake.sources" "$root/etc/apt/apt.conf.d/91-evergreen-bake"
cp -a "$bake/site-sources/." "$root/etc/apt/"
apt-get -q clean
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/lib/apt/periodic/* "$root"/var/cache/apt/*.bin
rm -rf "$root"/var/lib/evergreen-bake
