#!/bin/sh
# Answers a health check of the registration address: 200 while this server shall get requests, else 503.
set -eu
root=${EVERGREEN_ROOT-}
tls=$root/var/lib/rancher/rke2/server/tls

# RKE2's API answers nobody without a certificate, and a balancer needs none of those.
is_ready() {
  curl --fail --silent --max-time 2 --cacert "$tls/server-ca.crt" --cert "$tls/client-admin.crt" \
    --key "$tls/client-admin.key" https://127.0.0.1:6443/readyz >/dev/null
}

# A connection that is closed with a part of the request unread is reset, and the answer with it.
return=$(printf '\r')
while IFS= read -r line && [ -n "${line%"$return"}" ]; do :; done
if [ ! -e "$root/run/evergreen/yielding" ] && is_ready; then status="200 OK"; else status="503 Service Unavailable"; fi
printf 'HTTP/1.0 %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$status"
