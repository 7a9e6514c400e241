"""Checks the files for containers and Kubernetes: against the schemas of Kubernetes and of Compose, with the parser of Docker's own
builder, and against each other. With JOEY_BIN, the program also starts with the configuration of the ConfigMap."""

import os
import pathlib
import subprocess
import sys
import tempfile

import dockerfile
import kubernetes_validate
import yaml
from compose_spec import ComposeSpecification

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
# An old release that is still in use, and the newest that the schemas contain.
KUBERNETES = ["1.29", "1.37"]


def kubernetes_files():
    found = []
    for path in sorted((PACKAGING / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            for version in KUBERNETES:
                # Strict: a misspelled field is an error.
                kubernetes_validate.validate(document, version, strict=True)
            found.append((path.name, document))
    objects = {(document["kind"], document["metadata"]["name"]): document for _, document in found}
    for (kind, name), document in objects.items():
        assert document["metadata"]["namespace"] == "joey", f"{kind} {name} is in another namespace"
        if kind != "Service":
            continue
        # The ports of a service are ports of the containers that it selects.
        selected = [
            other["spec"]["template"]
            for (other_kind, _), other in objects.items()
            if other_kind == "Deployment"
            and document["spec"]["selector"].items() <= other["spec"]["template"]["metadata"]["labels"].items()
        ]
        assert len(selected) == 1, f"the service {name} selects {len(selected)} deployments"
        ports = {port["name"] for container in selected[0]["spec"]["containers"] for port in container["ports"]}
        for port in document["spec"]["ports"]:
            assert port["targetPort"] in ports, f"{name}: no container has the port {port['targetPort']}"
    print(f"kubernetes: {len(found)} objects are valid for {' and '.join(KUBERNETES)}")
    return objects


def compose_file():
    path = PACKAGING / "docker" / "compose.yaml"
    content = yaml.safe_load(path.read_text())
    # `x-` fields are only anchors.
    content = {name: value for name, value in content.items() if not name.startswith("x-")}
    ComposeSpecification.model_validate(content, extra="forbid")
    for name, service in content["services"].items():
        for other in service.get("depends_on", []):
            assert other in content["services"], f"{name} depends on {other}, which is not there"
        for volume in service.get("volumes", []):
            source = (path.parent / volume.split(":")[0]).resolve()
            assert source.exists(), f"{name}: {source} does not exist"
        if "build" in service:
            context = (path.parent / service["build"]["context"]).resolve()
            assert (context / service["build"]["dockerfile"]).exists(), f"{name} has no Dockerfile"
        for published in service.get("ports", []):
            assert published.startswith("127.0.0.1:"), f"{name} publishes {published} beyond this machine"
    print(f"compose: {len(content['services'])} services are valid")
    return content


def docker_file():
    commands = dockerfile.parse_file(str(PACKAGING / "docker" / "Dockerfile"))
    bases = [command.value[0] for command in commands if command.cmd.upper() == "FROM"]
    wanted = (ROOT / "rust-toolchain.toml").read_text().split('channel = "')[1].split('"')[0]
    assert bases[0].startswith(f"rust:{wanted.rsplit('.', 1)[0]}"), f"{bases[0]} has another Rust than {wanted}"
    stages = {command.value[2] for command in commands if command.cmd.upper() == "FROM" and len(command.value) == 3}
    for command in commands:
        for flag in command.flags:
            if flag.startswith("--from="):
                assert flag.removeprefix("--from=") in stages, f"there is no stage {flag}"
    entry = [command.value for command in commands if command.cmd.upper() == "ENTRYPOINT"]
    copied = [command.value[-1] for command in commands if command.cmd.upper() == "COPY"]
    assert entry[0][0] in copied, f"{entry} is not in the image"
    print(f"docker: {len(commands)} instructions are valid")


def relay_starts(program, environment, configuration):
    """Starts the relay with the options of a manifest, on free ports, and stops it when it listens."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        arguments = [program, "serve", "--log-format", "json"]
        if configuration:
            key = folder / "viewers.pem"
            key.write_text("0123456789abcdef" * 2)
            configuration = configuration.replace("/etc/joey-viewers/viewers.pem", str(key))
            for port in ["4000", "5001", "4317", "4318"]:
                configuration = configuration.replace(f"0.0.0.0:{port}", "0.0.0.0:0")
            (folder / "joey.toml").write_text(configuration)
            arguments += ["--config", str(folder / "joey.toml")]
        ports = {name: "0.0.0.0:0" for name, value in environment.items() if value.startswith("0.0.0.0:")}
        relay = subprocess.Popen(
            arguments, env={**os.environ, **environment, **ports}, stderr=subprocess.PIPE, text=True
        )
        log = []
        for line in relay.stderr:
            log.append(line)
            if '"listening"' in line:
                break
        relay.terminate()
        relay.stderr.read()
        assert relay.wait() == 0, "the relay does not start: " + "".join(log)


def main():
    objects = kubernetes_files()
    compose = compose_file()
    docker_file()
    program = os.environ.get("JOEY_BIN")
    if program:
        relay_starts(program, {}, objects["ConfigMap", "joey"]["data"]["joey.toml"])
        for name in ["relay-a", "relay-b"]:
            relay_starts(program, compose["services"][name]["environment"], None)
        print("the relay starts with the options of the ConfigMap and of Compose")
    return 0


if __name__ == "__main__":
    sys.exit(main())
