# shellcheck shell=sh disable=SC2154
# The definition's own scripts, in its order, and its services, which may have come with them.
mkdir -p "$bake/scripts"
find "$bake/scripts" -type f | LC_ALL=C sort >"$bake/scripts.list"
while read -r script; do
  (cd / && "$script" </dev/null)
done <"$bake/scripts.list"
# Names of units may have a backslash, which xargs would take away.
entries services-enabled | xargs -r -d '\n' systemctl enable
entries services-masked | xargs -r -d '\n' systemctl mask
