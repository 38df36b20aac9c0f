#!/bin/sh
# Start MariaDB in a container of the sandbox as the official image does: an empty data directory is initialized with
# the passwords and the database that the environment names; one that has data is used as it is.
set -eu

datadir=${MARIADB_DATADIR:-/var/lib/mysql}
run=${HAMGR_RUN_DIR:-/run}/mysqld
PATH=$PATH:/usr/sbin:/usr/bin:/sbin:/bin

case ${1:-mariadbd} in
-*) ;;
mariadbd | mysqld) [ $# -eq 0 ] || shift ;;
*) exec "$@" ;;
esac

mkdir -p "$run" "$datadir"
if [ "$(id -u)" = 0 ]; then
    chown mysql: "$run"
    find "$datadir" ! -user mysql -exec chown mysql: '{}' +
    exec setpriv --reuid=mysql --regid=mysql --init-groups /bin/sh "$0" mariadbd "$@"
fi

quoted() { # a string for SQL
    printf "'%s'" "$(printf %s "$1" | sed -e 's/\\/\\\\/g' -e "s/'/''/g")"
}

say() { # not echo, which takes backslashes for its own
    printf '%s\n' "$1"
}

users() { # the accounts and the database that the environment asks for
    root=${MARIADB_ROOT_PASSWORD-${MYSQL_ROOT_PASSWORD-}}
    database=${MARIADB_DATABASE-${MYSQL_DATABASE-}}
    user=${MARIADB_USER-${MYSQL_USER-}}
    say "FLUSH PRIVILEGES;"
    say "DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host NOT IN ('localhost'));"
    say "DELETE FROM mysql.proxies_priv;"
    say "FLUSH PRIVILEGES;"
    say "ALTER USER root@localhost IDENTIFIED BY $(quoted "$root");"
    say "CREATE USER root@'%' IDENTIFIED BY $(quoted "$root");"
    say "GRANT ALL ON *.* TO root@'%' WITH GRANT OPTION;"
    [ -z "$database" ] || say "CREATE DATABASE IF NOT EXISTS \`$database\`;"
    if [ -n "$user" ]; then
        say "CREATE USER $(quoted "$user")@'%' IDENTIFIED BY $(quoted "${MARIADB_PASSWORD-${MYSQL_PASSWORD-}}");"
        [ -z "$database" ] || say "GRANT ALL ON \`$database\`.* TO $(quoted "$user")@'%';"
    fi
}

if [ ! -d "$datadir/mysql" ]; then
    if [ -z "${MARIADB_ROOT_PASSWORD-${MYSQL_ROOT_PASSWORD-}}${MARIADB_ALLOW_EMPTY_ROOT_PASSWORD-}" ]; then
        echo "Database is uninitialized and password option is not specified: set MARIADB_ROOT_PASSWORD" \
            "or MARIADB_ALLOW_EMPTY_ROOT_PASSWORD" >&2
        exit 1
    fi
    # The directory "mysql" comes last and only when everything else is on the disk: its presence says "initialized",
    # whenever a crash may have come in between.
    seed=$datadir/.seed
    rm -rf "$seed"
    cp -R "$MARIADB_TEMPLATE" "$seed"
    users | mariadbd --no-defaults --bootstrap --datadir="$seed" --skip-name-resolve \
        --innodb-buffer-pool-size=32M --innodb-log-file-size=32M
    for entry in "$seed"/*; do
        name=${entry##*/}
        [ "$name" = mysql ] && continue
        rm -rf "${datadir:?}/$name"
        mv "$entry" "$datadir/"
    done
    sync -f "$datadir"
    mv "$seed/mysql" "$datadir/mysql"
    rmdir "$seed"
    sync -f "$datadir"
fi

socket=$run/mysqld.sock
[ ${#socket} -lt 100 ] || socket=mysqld.sock # the kernel takes 107 characters; this one is in the data directory

cat >"$run/my.cnf" <<EOF
[mariadbd]
datadir = $datadir
socket = $socket
pid-file = $run/mysqld.pid
bind-address = ${HAMGR_BIND_ADDRESS:-0.0.0.0}
port = 3306
skip-name-resolve
ignore-db-dirs = lost+found
innodb-flush-log-at-trx-commit = 1
sync-binlog = 1
innodb-buffer-pool-size = 32M
innodb-log-file-size = 32M
innodb-temp-data-file-path = ibtmp1:4M:autoextend
[client]
socket = $socket
!includedir ${MARIADB_CONFIG_DIR:-/etc/mysql/conf.d}
EOF
exec mariadbd --defaults-file="$run/my.cnf" "$@"
