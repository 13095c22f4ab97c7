# shellcheck shell=sh disable=SC2034,SC2154
# Ubuntu, as data: every pocket has the same snapshot, and grub makes the kernel's command line.
archive_suites="$VERSION_CODENAME $VERSION_CODENAME-updates $VERSION_CODENAME-security"
archive_components="main restricted universe multiverse"
archive_keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg
archive_options=""
# Besides the packages of every image: what the stages call, and what a node of RKE2 needs of its host.
distribution_packages="iptables nftables systemd-timesyncd zstd"
time_unit=systemd-timesyncd.service
ssh_packages="openssh-server openssh-sftp-server"
