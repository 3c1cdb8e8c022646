#!/bin/sh
# A deploy hook for certbot. It copies a renewed certificate to where `mailstead init` put the one for testing; the servers
# pick it up by themselves. certbot's own folder is for root alone, and the servers don't run as root.
#   certbot certonly --standalone -d mail.example.org --deploy-hook /usr/local/lib/mailstead/certbot-hook.sh
set -eu
folder=/var/lib/mailstead/tls
take() {
    install -o mailstead -g mailstead -m "$3" "$RENEWED_LINEAGE/$1" "$folder/$2.new"
    mv -f "$folder/$2.new" "$folder/$2"
}
install -d -o mailstead -g mailstead -m 0700 "$folder"
take privkey.pem key.pem 0600
take fullchain.pem cert.pem 0644
