# shellcheck shell=sh disable=SC2154
# The units through which steps and guest communicate (images/contract.ts).
for script in join yield registries health log measure; do
  install -D -m 755 "$bake/guest/$script.sh" "$root/usr/lib/evergreen/$script"
done
for file in lead.py unprotected; do install -m 644 "$bake/guest/$file" "$root/usr/lib/evergreen/$file"; done
install -D -m 644 -t "$root/usr/lib/systemd/system" "$bake"/units/*.service "$bake"/units/*.path "$bake"/units/*.socket
install -D -m 644 -t "$root/usr/lib/systemd/system-preset" "$bake/units/10-evergreen.preset"
# The guest agent makes files that all may read: the mode of the directory keeps the token of a join.
install -d -m 700 "$root/etc/evergreen"
install -d -m 755 "$root/var/log/evergreen"
systemctl daemon-reload
systemctl enable evergreen-join.path evergreen-join.service evergreen-yield.path evergreen-registries.path \
  evergreen-health.socket evergreen-log.service
systemctl disable rke2-server.service rke2-agent.service
