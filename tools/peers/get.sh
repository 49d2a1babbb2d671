#!/bin/bash
# get.sh NAME [NAME...]: fetches test peers, at pinned versions, into the peers directory; does nothing when already there.
#
#   peers directory   $RUNNEL_PEERS_DIR, else .peers/ at the root of the repository (git-ignored)
#   one peer          <peers directory>/<name>-<version>/<binary>
#   exit codes        0 there now, 1 failed, 2 unknown name, 3 this machine cannot build it (callers skip, loudly)
#
# Debian's own nats-server (2.9.10) comes from apt and is found in PATH; it is not fetched here.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
peers=${RUNNEL_PEERS_DIR:-$(cd "$here/../.." && pwd)/.peers}
. "$here/go.sh"
. "$here/maven.sh"
. "$here/sqlite.sh"

get() {
  case $1 in
    nats-server) go_tool nats-server 2.15.2 1.25 github.com/nats-io/nats-server/v2@v2.15.2 ;;
    versitygw)   go_tool versitygw 1.8.0 1.25 github.com/versity/versitygw/cmd/versitygw@v1.8.0 ;;
    # MinIO's last commit: the project is no longer maintained, so nothing newer will come.
    minio)       go_tool minio 20260212 1.24 github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c ;;
    ltx)         go_tool ltx 0.5.3 1.24 github.com/superfly/ltx/cmd/ltx@v0.5.3 ;;
    litestream)  go_tool litestream 0.5.18 1.25 github.com/benbjohnson/litestream/cmd/litestream@v0.5.18 ;;
    # The module proxy does not answer the version list `go install` asks for, so a small module of our own requires it.
    natscli)     go_module natscli 0.4.0 1.25 github.com/nats-io/natscli@v0.4.0 github.com/nats-io/natscli/nats nats ;;
    # 4.4.0 is listed on Maven Central but incomplete: never "latest".
    kafka)       kafka 3.9.2; kafka 4.3.1 ;;
    # What reads Debezium's events in stream processors and sinks.
    debezium)    debezium 3.6.1 4.3.0 ;;
    # SQLite as applications bring it: 3.51.1 still has the WAL-reset bug, 3.40.1 (Debian's) too, the others do not.
    sqlite-go)   sqlite_go modernc 1.61.1 modernc.org/sqlite 0; sqlite_go mattn 1.14.52 github.com/mattn/go-sqlite3 1 ;;
    sqlite-rust) sqlite_rust 0.41.1 0.39.1 ;;
    sqlite-jdbc) sqlite_jdbc 3.54.1.0 ;;
    sqlite-py)   python_wheel apsw 3.54.1.0; python_wheel pysqlite3-binary 0.5.4.post2 ;;
    *)           echo "get.sh: unknown peer \"$1\"; known: nats-server versitygw minio ltx litestream natscli kafka debezium sqlite-go sqlite-rust sqlite-jdbc sqlite-py" >&2; exit 2 ;;
  esac
}

[ $# -gt 0 ] || { echo "usage: get.sh NAME...   (an unknown NAME lists them)" >&2; exit 2; }
for name in "$@"; do get "$name"; done
