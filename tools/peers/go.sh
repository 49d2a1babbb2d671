# Sourced by get.sh: peers written in Go, built from the module proxy. REQUIRES: $peers is the peers directory.
# Static binaries (CGO off), two compile jobs at most ($GO_P overrides), Go's own module and build caches.

# need_go NAME MIN: exits 3 with a sentence when Go is absent or older than MIN.
need_go() {
  local have
  if ! command -v go > /dev/null; then
    echo "get.sh: $1 needs Go >= $2, and there is no go in PATH" >&2; exit 3
  fi
  have=$(GOTOOLCHAIN=local go env GOVERSION); have=${have#go}; have=${have%% *}
  if [ "$(printf '%s\n%s\n' "$2" "$have" | sort -V | head -1)" != "$2" ]; then
    echo "get.sh: $1 needs Go >= $2, found $have" >&2; exit 3
  fi
}

# finish NAME VERSION STAGING: puts a finished build in place in one step, so that a half-built peer is never found.
finish() {
  chmod 755 "$3"; rm -rf "$peers/$1-$2"; mv "$3" "$peers/$1-$2"
  echo "$peers/$1-$2"
}

# go_tool NAME VERSION MIN_GO PACKAGE@VERSION
go_tool() {
  if [ -d "$peers/$1-$2" ]; then echo "$peers/$1-$2"; return; fi
  need_go "$1" "$3"
  mkdir -p "$peers"; local staging; staging=$(mktemp -d "$peers/.build-$1-XXXXXX")
  GOBIN=$staging CGO_ENABLED=0 GOFLAGS=-trimpath go install -p "${GO_P:-2}" -ldflags '-s -w' "$4"
  finish "$1" "$2" "$staging"
}

# go_module NAME VERSION MIN_GO MODULE@VERSION PACKAGE BINARY: for programs that `go install package@version` refuses.
go_module() {
  if [ -d "$peers/$1-$2" ]; then echo "$peers/$1-$2"; return; fi
  need_go "$1" "$3"
  mkdir -p "$peers"; local staging; staging=$(mktemp -d "$peers/.build-$1-XXXXXX")
  local module; module=$(mktemp -d)
  printf 'module peers\n\ngo %s\n\nrequire %s %s\n' "$3" "${4%@*}" "${4#*@}" > "$module/go.mod"
  printf '//go:build tools\n\npackage tools\n\nimport _ "%s"\n' "$5" > "$module/tools.go"
  (cd "$module" && CGO_ENABLED=0 go build -mod=mod -p "${GO_P:-2}" -trimpath -ldflags '-s -w' -o "$staging/$6" "$5")
  rm -rf "$module"
  finish "$1" "$2" "$staging"
}
