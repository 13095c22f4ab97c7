# shellcheck shell=sh disable=SC2115,SC2154
# The container images, imported here so that a join pulls and imports nothing.
# RKE2 imports only while it starts, so it is started until its containerd answers, and stopped; then containerd alone
# imports.
[ -f "$bake/images" ] || exit 0
store=$root/var/lib/evergreen-bake
data=$root/var/lib/rancher/rke2
export PATH="$data/bin:$PATH" CONTAINERD_ADDRESS="$root/run/k3s/containerd/containerd.sock"

# RKE2 unpacks its runtime from the archives in agent/images.
mkdir -p "$data/agent/images"
ln "$store"/rke2-images*.tar.* "$data/agent/images/"
systemd-run --quiet --unit evergreen-prime --property KillMode=control-group /usr/local/bin/rke2 server
await 600 ctr --connect-timeout 1s version
systemctl stop evergreen-prime.service
if [ -x "$root/usr/local/bin/rke2-killall.sh" ]; then timeout --foreground 120 "$root/usr/local/bin/rke2-killall.sh"; fi
rm -f "$data"/agent/images/*

systemd-run --quiet --unit evergreen-containerd --property KillMode=control-group --setenv "PATH=$PATH" \
  "$data/bin/containerd" -c "$data/agent/etc/containerd/config.toml" -a "$CONTAINERD_ADDRESS" \
  --state "$root/run/k3s/containerd" --root "$data/agent/containerd"
await 600 ctr --connect-timeout 1s version
for archive in "$store"/rke2-images*.tar.*; do
  case $archive in *.zst) zstd -dc "$archive" ;; *) gzip -dc "$archive" ;; esac | ctr -n k8s.io images import -
done

# Of the labels RKE2 takes off at each start those that have its own one beside them: these stay, and kubelet never
# removes the images (k3s, pkg/agent/containerd: clearLabels).
sort -u "$bake/images" | while read -r image; do
  ctr -n k8s.io images label "$image" io.cri-containerd.pinned=pinned io.cri-containerd.image=managed
done
ctr -n k8s.io images ls -q 'labels."io.cri-containerd.pinned"==pinned' | sort -u >"$bake/pinned"
sort -u "$bake/images" | comm -23 - "$bake/pinned" >"$bake/unpinned"
[ ! -s "$bake/unpinned" ] || refuse "containerd does not keep $(paste -s -d ' ' "$bake/unpinned")"
mkdir -p "$root/var/lib/evergreen/record"
ctr -n k8s.io images ls | awk 'NR > 1 { sub(/^sha256:/, "", $3); print $3 "  " $1 }' | LC_ALL=C sort -k 2 >"$bake/imported"
awk 'NR == FNR { wanted[$1]; next } $2 in wanted' "$bake/images" "$bake/imported" >"$root/var/lib/evergreen/record/images"
systemctl stop evergreen-containerd.service

# Of what RKE2 left behind only programs and images stay: no cluster, no certificate, no token.
find "$data" -mindepth 1 -maxdepth 1 ! -name agent ! -name bin ! -name data -exec rm -rf {} +
find "$data/agent" -mindepth 1 -maxdepth 1 ! -name images ! -name containerd -exec rm -rf {} +
rm -rf "$root/etc/rancher/node" "$root/etc/rancher/rke2/rke2.yaml"
rm -rf "$root/etc/cni" "$root/var/lib/cni" "$root/var/lib/kubelet"
# With the file there, archives that are brought later are imported once and not at each start (rancher/rke2,
# docs/install/airgap.md). Releases that take the pins off the images then do not get it.
if [ "$IMPORT_CACHE" = yes ]; then : >"$data/agent/images/.cache.json"; fi
rm -rf "${store:?}"
