# shellcheck shell=sh disable=SC2154
# RKE2, from files whose digests are in the definition. Its installer leaves out what it cannot check: nothing is left out
# here.
store=$root/var/lib/evergreen-bake
mkdir -p "$store"
entries artefacts | while read -r sum file; do
  fetch "$RKE2_ARTEFACTS/$file" "$store/$file"
  printf '%s  %s\n' "$sum" "$store/$file" | sha256sum -c --status ||
    refuse "$file is not the one of the definition: SHA-256 $(sha256sum <"$store/$file")"
done
# Lists that the definition does not name have their digests in the release's sums, whose digest it names then.
for archive in "$store"/rke2-images*.tar.*; do
  list=${archive##*/}
  list=${list%.tar.*}.txt
  if [ -f "$archive" ] && [ ! -f "$store/$list" ]; then
    fetch "$RKE2_ARTEFACTS/$list" "$store/$list"
    (cd "$store" && grep -hE "^[0-9a-f]{64} [ *]$list\$" sha256sum-*.txt | sha256sum -c --status) ||
      refuse "$list is neither in the definition nor as the release's sums have it"
  fi
done

entries artefacts | while read -r sum file; do
  case $file in
    rke2.linux-*.tar.gz)
      tar -tzf "$store/$file" | sed 's:^\./::' >"$bake/binaries"
      if grep -Ev '^((bin|lib|share)(/.*)?)?$' "$bake/binaries" || grep -F .. "$bake/binaries"; then
        refuse "$file has files outside of bin, lib and share"
      fi
      tar -xzf "$store/$file" --no-same-owner -C "$root/usr/local"
      rm "$store/$file"
      ;;
    rke2-images*.tar.*)
      list=$store/${file%.tar.*}.txt
      sed -e 's:^docker\.io/::' -e '/^[[:space:]]*$/d' "$list" | sort -u >"$bake/listed"
      tar -xOf "$store/$file" manifest.json | python3 "$bake/guest/tags.py" | sed 's:^docker\.io/::' | sort -u \
        >"$bake/contained"
      diff "$bake/listed" "$bake/contained" || refuse "$file does not hold the images of its list"
      sed -e '/^[[:space:]]*$/d' "$list" >>"$bake/images"
      ;;
  esac
done

"$root/usr/local/bin/rke2" --version >"$bake/rke2.version"
grep -qF "rke2 version $RKE2_VERSION " "$bake/rke2.version" ||
  refuse "RKE2 says that it is: $(head -n 1 "$bake/rke2.version")"
systemctl daemon-reload
