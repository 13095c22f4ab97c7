# shellcheck shell=sh disable=SC2034,SC2154
# Debian, as data: its snapshots have an end of validity that has long passed.
archive_suites="$VERSION_CODENAME"
archive_components="main"
archive_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
archive_options="Check-Valid-Until: no"
distribution_packages="nftables systemd-timesyncd zstd"
time_unit=systemd-timesyncd.service
ssh_packages="openssh-server openssh-sftp-server"
