# Sourced by get.sh: peers written in Java, fetched by Maven from Maven Central. REQUIRES: $peers, finish (go.sh).

# need_maven NAME: exits 3 with a sentence when there is no Maven, or no Java of at least 17.
need_maven() {
  local tool have
  for tool in mvn java; do
    if ! command -v $tool > /dev/null; then
      echo "get.sh: $1 needs Maven and Java >= 17, and there is no $tool in PATH" >&2; exit 3
    fi
  done
  have=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1)
  if [ "${have:-0}" -lt 17 ]; then echo "get.sh: $1 needs Java >= 17, found ${have:-an unknown one}" >&2; exit 3; fi
}

# The compiler comes with a JDK only.
need_javac() {
  if ! command -v javac > /dev/null; then
    echo "get.sh: $1 needs a JDK, and there is no javac in PATH" >&2; exit 3
  fi
}

# kafka VERSION: the broker's jars in kafka-VERSION/lib, and in kafka-VERSION/template a formatted storage directory, so that
# starting a broker costs one Java process, not two. The release's own logging is not on Maven Central: slf4j-simple speaks instead.
kafka() {
  if [ -d "$peers/kafka-$1" ]; then echo "$peers/kafka-$1"; return; fi
  need_maven "kafka $1"
  mkdir -p "$peers"; local staging; staging=$(mktemp -d "$peers/.build-kafka-XXXXXX")
  cat > "$staging/pom.xml" << POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>peers</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
 <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$1</version></dependency>
 <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
POM
  mvn -q -B -f "$staging/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$staging/lib"
  printf '%s\n' process.roles=broker,controller node.id=1 controller.quorum.voters=1@127.0.0.1:1 \
    listeners=PLAINTEXT://127.0.0.1:2,CONTROLLER://127.0.0.1:1 controller.listener.names=CONTROLLER \
    "log.dirs=$staging/template" > "$staging/format.properties"
  # The cluster id is any 16 bytes in base64url.
  java -Xmx128m -XX:TieredStopAtLevel=1 -cp "$staging/lib/*" kafka.tools.StorageTool format \
    -t cnVubmVsLXRlc3Qta2Fma2Ew -c "$staging/format.properties" > "$staging/format.log" 2>&1 ||
    { cat "$staging/format.log" >&2; exit 1; }
  finish kafka "$1" "$staging"
}

# debezium VERSION KAFKA_VERSION: the jars that consumers of Debezium's events use, and a program of ours that runs events
# through them. Of Kafka Connect only what they stand on.
debezium() {
  if [ -d "$peers/debezium-$1" ]; then echo "$peers/debezium-$1"; return; fi
  need_maven "debezium $1"
  need_javac debezium
  mkdir -p "$peers"; local staging; staging=$(mktemp -d "$peers/.build-debezium-XXXXXX")
  cat > "$staging/pom.xml" << POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>peers</groupId><artifactId>debezium</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
 <dependency><groupId>io.debezium</groupId><artifactId>debezium-connector-common</artifactId><version>$1.Final</version></dependency>
 <dependency><groupId>io.debezium</groupId><artifactId>debezium-connect-plugins</artifactId><version>$1.Final</version></dependency>
 <dependency><groupId>org.apache.kafka</groupId><artifactId>connect-json</artifactId><version>$2</version></dependency>
 <dependency><groupId>org.apache.kafka</groupId><artifactId>connect-transforms</artifactId><version>$2</version></dependency>
 <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
</dependencies></project>
POM
  mvn -q -B -f "$staging/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$staging/lib"
  javac -d "$staging/lib" -cp "$staging/lib/*" "$here/debezium/Consume.java"
  finish debezium "$1" "$staging"
}
