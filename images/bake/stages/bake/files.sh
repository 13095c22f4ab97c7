# shellcheck shell=sh disable=SC2154
# The definition's own files. Sources of packages wait until the image is sealed: the bake has one archive.
mkdir -p "$bake/files"
(cd "$bake/files" && find . -type f | LC_ALL=C sort) | while read -r file; do
  path=${file#.}
  case $path in
    /etc/apt/sources.list | /etc/apt/sources.list.d/*) to=$bake/site-sources/${path#/etc/apt/} ;;
    *) to=$root$path ;;
  esac
  install -D -m "$(stat -c %a "$bake/files/$file")" "$bake/files/$file" "$to"
done
