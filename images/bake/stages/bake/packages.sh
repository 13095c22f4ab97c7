# shellcheck shell=sh disable=SC2154
# Every update as of the archive's date, then what the definition asks for.
apt upgrade --with-new-pkgs
# shellcheck disable=SC2046,SC2086 # lists of names
apt install $distribution_packages $(entries packages)
apt autoremove --purge
entries hold | xargs -r apt-mark hold
apt-mark showhold | sort >"$bake/held"
entries hold | sort | cmp - "$bake/held" || refuse "these packages are held: $(paste -s -d ' ' "$bake/held")"
