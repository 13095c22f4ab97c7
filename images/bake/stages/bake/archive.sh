# shellcheck shell=sh disable=SC2115,SC2154
# Every package comes from the archive of one moment, and from nowhere else.
site=$bake/site-sources
mkdir -p "$site/sources.list.d" "$root/etc/apt/sources.list.d"
if [ -f "$root/etc/apt/sources.list" ]; then mv "$root/etc/apt/sources.list" "$site/"; fi
find "$root/etc/apt/sources.list.d" -mindepth 1 -maxdepth 1 -exec mv {} "$site/sources.list.d/" \;
rm -rf "$root"/var/lib/apt/lists/*

if [ -f "$bake/archive-key.asc" ]; then archive_keyring=$bake/archive-key.asc; fi
# Mirrors that are asked for an archive's date (`Snapshot:`) may fall back to today's. A whole address cannot.
write "$root/etc/apt/sources.list.d/evergreen-bake.sources" <<END
Types: deb
URIs: $ARCHIVE
Suites: $archive_suites
Components: $archive_components
Signed-By: $archive_keyring
${archive_options:-Enabled: yes}
END
# A machine's id decides which phased updates it gets: none before all get them, or two bakes would differ.
write "$root/etc/apt/apt.conf.d/90-evergreen" <<END
APT::Get::Never-Include-Phased-Updates "true";
APT::Periodic::Enable "0";
END
write "$root/etc/apt/apt.conf.d/91-evergreen-bake" <<END
APT::Update::Error-Mode "any";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::Retries "3";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
END
apt update
# shellcheck disable=SC2016 # apt expands it
apt-get indextargets --format '$(REPO_URI)' | sed 's:/*$::' | sort -u >"$bake/archive.used"
printf '%s\n' "$ARCHIVE" | cmp - "$bake/archive.used" ||
  refuse "apt uses other archives than $ARCHIVE: $(paste -s -d ' ' "$bake/archive.used")"
