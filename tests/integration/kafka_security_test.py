"""Kafka behind SASL and TLS, with everything in the configuration file: both nodes work; a wrong password, an authority
that did not sign, and a mechanism the client library cannot do are refused with a sentence that holds no secret."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from harness import Skip, log, run  # noqa: E402
import shutil  # noqa: E402

BROKER = """ssl.keystore.type=PEM
ssl.keystore.location={tls}/server-all.pem
ssl.truststore.type=PEM
ssl.truststore.location={tls}/ca.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
user_runnel="geheim";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
"""

CONFIG = """dbs:
  - path: {source}
    bus: kafka://127.0.0.1:{port}/app{query}
    credentials: &login
      user: runnel
      password: ${{KAFKA_PASSWORD}}
      tls-ca: {ca}
replicas:
  - path: {replica}
    bus: kafka://127.0.0.1:{port}/app{query}
    credentials:
      user: runnel
      password: ${{KAFKA_PASSWORD}}
      tls-ca: {ca}
"""


def make_certificates(directory):
    """An authority with a server's certificate for 127.0.0.1, and another authority."""
    if not shutil.which("openssl"):
        raise Skip("openssl is not installed")
    os.makedirs(directory)
    authority = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    with open(os.path.join(directory, "ext"), "w") as f:
        f.write("subjectAltName=IP:127.0.0.1\n")
    for command in (authority + ["-subj", "/CN=test-ca", "-keyout", "ca.key", "-out", "ca.pem"],
                    authority + ["-subj", "/CN=other-ca", "-keyout", "other.key", "-out", "other.pem"],
                    ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
                     "-keyout", "server.key", "-out", "server.csr"],
                    ["openssl", "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                     "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", "server.pem"]):
        subprocess.run(command, cwd=directory, check=True, capture_output=True)
    with open(os.path.join(directory, "server-all.pem"), "w") as out:
        for part in ("server.key", "server.pem", "ca.pem"):
            with open(os.path.join(directory, part)) as f:
                out.write(f.read())


def main(world):
    tls = world.path("tls")
    make_certificates(tls)
    kafka = world.kafka(extra=BROKER.format(tls=tls), second="SASL_SSL")
    source, replica = world.create(), world.path("replica.db")

    def config(name, ca="ca.pem", query=""):
        path = world.path(name)
        with open(path, "w") as f:
            f.write(CONFIG.format(source=source, replica=replica, port=kafka.second_port, query=query,
                                  ca=os.path.join(tls, ca)).replace(" &login", ""))
        os.chmod(path, 0o600)
        return path

    right = {"KAFKA_PASSWORD": "geheim"}
    url = f"kafka://127.0.0.1:{kafka.second_port}/app"
    publisher = world.publisher(source, url, "--config", config("right.yml"), env=right)
    publisher.await_publishing()
    subscriber = world.subscriber(url, replica, "--config", world.path("right.yml"), env=right)
    assert world.app(source, "ins", "n=200", "secs=10", "busy=5000").wait() == 0
    world.assert_equal(source, publisher, subscriber)
    log("published and replicated over SASL_SSL, from the configuration file")
    assert publisher.stop() == 0 and subscriber.stop() == 0

    cases = [("wrong password", config("right.yml"), {"KAFKA_PASSWORD": "falsch"}, ["uthentication"]),
             ("unknown authority", config("other.yml", "other.pem"), right, ["certificate verify failed"]),
             ("no such file", config("none.yml", "none.pem"), right, ["ssl.ca.location"]),
             ("SCRAM", config("scram.yml", query="?sasl.mechanism=SCRAM-SHA-256"), right, ["use PLAIN over TLS"])]
    for what, path, env, words in cases:
        bus = url + ("?sasl.mechanism=SCRAM-SHA-256" if what == "SCRAM" else "")
        refused = world.publisher(source, bus, "--config", path, env=env)
        code = refused.wait(60)
        text = refused.text()
        assert code == 2, (what, code, text)
        for word in words:
            assert word in text, (what, word, text)
        assert "geheim" not in text and "falsch" not in text, text
        log(f"{what}: {text.strip().splitlines()[-1][-200:]}")


run(main)
