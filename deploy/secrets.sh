#!/bin/sh
# Makes the secrets of a new system once: secrets.sh FOLDER_OF_RESERVIX FOLDER_OF_POSTGRES
#
# The first folder gets a file `.env` with the signing key and the password of the database, for the user
# of the image; the second one the password alone. What is there already is left alone: another key would
# log everybody out, another password would lock the server out of its database.
set -eu

settings=$1/.env
password=$2/password
if [ -s "$settings" ] && [ -s "$password" ]; then
    echo "The secrets are there."
    exit 0
fi

random() {
    # 32 bytes from the system's generator, as 64 hexadecimal digits.
    od -An -N32 -tx1 /dev/urandom | tr -d ' \n'
}

umask 077
[ -s "$password" ] || random >"$password"
{
    echo "SECRET_KEY=$(random)"
    echo "DB_PASSWORD=$(cat "$password")"
} >"$settings.draft"
# Compose starts this as root; the image's user must be able to read the file.
[ "$(id -u)" -ne 0 ] || chown 65532:65532 "$settings.draft"
# Under its name it is whole.
mv "$settings.draft" "$settings"
echo "The secrets are made."
