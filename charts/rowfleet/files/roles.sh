#!/bin/sh
# Makes the database's roles, or brings them up to date. Runs beside the server as it starts, over its
# socket, and is safe to repeat: a volume of an earlier install, or with other passwords, ends up the
# same. Takes LEDGER_OWNER_PASSWORD and LEDGER_PASSWORD from the environment.
set -eu

# While the image sets a new volume up, its server listens on the socket alone. A server that is
# recovering takes its time; one that dies ends this, too.
until pg_isready -q -h 127.0.0.1 -d rowfleet; do
    sleep 0.5
done

run() {
    PGOPTIONS=--client-min-messages=warning psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --dbname rowfleet --username "$@"
}

# In earlier installs `rowfleet` is the server's first superuser, which can't become less. It gets
# another name. No session can rename its own user, so another superuser does it.
if ! run rowfleet_admin --command '' 2>/dev/null; then
    echo "DROP ROLE IF EXISTS rowfleet_mover; CREATE ROLE rowfleet_mover LOGIN SUPERUSER" | run rowfleet
    echo "ALTER ROLE rowfleet RENAME TO rowfleet_admin" | run rowfleet_mover
fi
run rowfleet_admin --single-transaction --file "${0%/*}/roles.sql" >/dev/null
