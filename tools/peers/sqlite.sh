# Sourced by get.sh: foreign SQLite drivers behind the line protocol of sqlite/README.md.
# REQUIRES: $here, $peers, need_go and finish (go.sh), need_maven (maven.sh).

# sqlite_go NAME VERSION MODULE CGO: one Go driver. `go mod tidy` would ask for everybody's test dependencies, -mod=mod
# does not.
sqlite_go() {
  if [ -d "$peers/sqlite-$1-$2" ]; then echo "$peers/sqlite-$1-$2"; return; fi
  need_go "sqlite-$1" 1.25
  mkdir -p "$peers"; local staging; staging=$(mktemp -d "$peers/.build-sqlite-$1-XXXXXX")
  local module; module=$(mktemp -d)
  printf 'module shell\n\ngo 1.25\n\nrequire %s v%s\n' "$3" "$2" > "$module/go.mod"
  cp "$here"/sqlite/go/shell.go "$here/sqlite/go/$1.go" "$module"
  (cd "$module" && CGO_ENABLED=$4 go build -mod=mod -p "${GO_P:-2}" -trimpath -ldflags '-s -w' -o "$staging/shell" .)
  rm -rf "$module"
  finish "sqlite-$1" "$2" "$staging"
}

# sqlite_rust VERSION SYS_VERSION: rusqlite and the libsqlite3-sys that brings its SQLite.
sqlite_rust() {
  if [ -d "$peers/sqlite-rusqlite-$1" ]; then echo "$peers/sqlite-rusqlite-$1"; return; fi
  if ! command -v cargo > /dev/null; then
    echo "get.sh: sqlite-rust needs Rust, and there is no cargo in PATH" >&2; exit 3
  fi
  mkdir -p "$peers"; local staging; staging=$(mktemp -d "$peers/.build-sqlite-rust-XXXXXX")
  local crate; crate=$(mktemp -d)
  mkdir "$crate/src"; cp "$here/sqlite/rust/main.rs" "$crate/src"
  sed "s/@VERSION@/$1/; s/@SYS_VERSION@/$2/" "$here/sqlite/rust/Cargo.toml.in" > "$crate/Cargo.toml"
  cargo build -q --release -j 2 --manifest-path "$crate/Cargo.toml" --target-dir "$crate/target"
  cp "$crate/target/release/shell" "$staging/shell"
  rm -rf "$crate"
  finish sqlite-rusqlite "$1" "$staging"
}

# sqlite_jdbc VERSION: the driver's jars and the compiled shell beside them.
sqlite_jdbc() {
  if [ -d "$peers/sqlite-jdbc-$1" ]; then echo "$peers/sqlite-jdbc-$1"; return; fi
  need_maven "sqlite-jdbc $1"
  need_javac sqlite-jdbc
  mkdir -p "$peers"; local staging; staging=$(mktemp -d "$peers/.build-sqlite-jdbc-XXXXXX")
  cat > "$staging/pom.xml" << POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>peers</groupId><artifactId>sqlite-jdbc</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
 <dependency><groupId>org.xerial</groupId><artifactId>sqlite-jdbc</artifactId><version>$1</version></dependency>
</dependencies></project>
POM
  mvn -q -B -f "$staging/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$staging/lib"
  javac -d "$staging/lib" -cp "$staging/lib/*" "$here/sqlite/Shell.java"
  finish sqlite-jdbc "$1" "$staging"
}

# python_wheel NAME VERSION: a wheel for the python3 in PATH, unpacked; nothing is compiled, nothing comes along.
python_wheel() {
  if [ -d "$peers/$1-$2" ]; then echo "$peers/$1-$2"; return; fi
  if ! python3 -m pip --version > /dev/null 2>&1; then
    echo "get.sh: $1 needs pip, and the python3 in PATH has none" >&2; exit 3
  fi
  mkdir -p "$peers"; local staging; staging=$(mktemp -d "$peers/.build-$1-XXXXXX")
  python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-deps --only-binary :all: \
    --target "$staging" "$1==$2"
  finish "$1" "$2" "$staging"
}
