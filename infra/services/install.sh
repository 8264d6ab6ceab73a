#!/bin/sh
# Installs Causeway's services on Debian: user, folders, secrets, databases, units. As root, from a
# clone with its .venv (`make setup`) that the user causeway can read: not below /root or /home.
#
#   sh infra/services/install.sh
#
# Runs twice without harm: secrets and settings in /etc/causeway that are there stay.
# STATE (default /srv/causeway) is where everything that is written lies. With DESTDIR only the
# files are made, below that folder: no user, no database, nothing is started.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
root=$(CDPATH='' cd -- "$here/../.." && pwd -P)
state=${STATE:-/srv/causeway}
destdir=${DESTDIR:-}
etc=$destdir/etc/causeway
units=$destdir/etc/systemd/system
user=causeway

secret() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

fill() {    # fill FILE: with the paths and the hardening in it
    sed -e "/@HARDENING@/{r $here/hardening.conf
d}" "$1" | sed -e "s|@ROOT@|$root|g; s|@STATE@|$state|g"
}

keep() {    # keep NAME MODE: standard input as a file of /etc/causeway, unless it is there
    if [ ! -e "$etc/$1" ]; then
        (umask 077 && cat >"$etc/$1.new")
        chmod "$2" "$etc/$1.new"
        mv "$etc/$1.new" "$etc/$1"
    fi
}

write_settings() {
    mkdir -p "$etc"
    fill "$here/causeway.env" | keep causeway.env 644
    keep profile.yaml 644 <"$here/profile.yaml"
    keep mlflow_auth.ini 644 <"$here/mlflow_auth.ini"
}

write_secrets() {    # each in the files of the units that need it, readable by root alone
    prefect="causeway:$(secret)"
    keep mlflow.env 600 <<END
MLFLOW_AUTH_ADMIN_PASSWORD=$(secret)
MLFLOW_FLASK_SERVER_SECRET_KEY=$(secret)
END
    keep prefect.env 600 <<END
PREFECT_SERVER_API_AUTH_STRING=$prefect
END
    keep worker.env 600 <<END
PREFECT_API_AUTH_STRING=$(sed -n 's/^PREFECT_SERVER_API_AUTH_STRING=//p' "$etc/prefect.env")
MLFLOW_TRACKING_USERNAME=worker
MLFLOW_TRACKING_PASSWORD=$(secret)
CAUSEWAY_WEBHOOK_URL=
END
    keep ray.env 600 <<END
RAY_AUTH_TOKEN=$(secret)
END
}

write_units() {
    mkdir -p "$units"
    for each in "$here"/*.service "$here"/*.timer; do
        fill "$each" >"$units/$(basename "$each")"
    done
}

make_user() {
    id "$user" >/dev/null 2>&1 ||
        useradd --system --home-dir "$state" --no-create-home --shell /usr/sbin/nologin "$user"
    for each in "$state" "$state/home" "$state/mlflow" "$state/prefect" "$state/ray" \
        "$state/studies" "$state/worker"; do
        install -d -o "$user" -g "$user" -m 750 "$each"
    done
    runuser -u "$user" -- "$root/.venv/bin/python" -c '' || {
        echo "the user $user cannot run $root/.venv: put the clone where it may read" >&2
        exit 6
    }
}

start() {
    systemctl daemon-reload
    systemctl enable --now causeway-mlflow causeway-prefect causeway-ray
    (
        set -a
        . "$etc/mlflow.env"
        . "$etc/worker.env"
        exec "$root/.venv/bin/python" "$here/mlflow_user.py" http://127.0.0.1:5000 worker
    )
    systemctl enable --now causeway-worker causeway-maintain.timer
}

write_settings
write_secrets
write_units
if [ -z "$destdir" ]; then
    make_user
    runuser -u postgres -- psql --quiet --no-psqlrc -v ON_ERROR_STOP=1 <"$here/databases.sql"
    start
fi
