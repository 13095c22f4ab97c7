# shellcheck shell=sh disable=SC2154
# Nothing else may use apt, now and in the image's life: a node is patched by its replacement, or by a plan.
entries masked | xargs systemctl mask
entries masked | while read -r unit; do
  if systemctl is-active --quiet "$unit"; then timeout --foreground 300 systemctl stop "$unit"; fi
done
