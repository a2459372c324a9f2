"""deploy/: short files with valid commands that match the schemas of Kubernetes."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from search.cli.main import app

DEPLOY = Path(__file__).parents[1] / "deploy"
COMMANDS = {command.name: command for command in typer.main.get_command(app).commands.values()}  # type: ignore[attr-defined]
LINES = 60


def parse(name: str, *arguments: str) -> None:
    """Parse the command line, and raise its usage errors."""
    expanded = [re.sub(r"\$\{\w+:?[-?]?([^}]*)\}", r"\1", argument) for argument in arguments]
    COMMANDS[name].make_context(name, expanded)


def kubernetes() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text()))


@pytest.mark.parametrize("path", sorted(DEPLOY.iterdir()), ids=lambda path: path.name)
def test_each_file_is_short_and_starts_with_a_comment(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") < LINES
    assert re.match(r"(?:#!.*\n)?#", text)


@pytest.mark.parametrize("document", kubernetes(), ids=lambda document: document["kind"])
def test_kubernetes_accepts_each_document(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, "1.31", strict=True)
    if "template" in document["spec"]:
        pod = document["spec"]["template"]["spec"]
        claimed = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            parse(*container["args"])
            assert {mount["name"] for mount in container["volumeMounts"]} <= claimed


def test_an_invalid_manifest_is_detected() -> None:
    job = kubernetes()[0]
    job["spec"]["template"]["spec"]["containers"][0]["arguments"] = ["run"]
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(job, "1.31", strict=True)


def test_the_service_points_to_the_dashboard() -> None:
    _, dashboard, service = kubernetes()
    labels = dashboard["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels == dashboard["spec"]["selector"]["matchLabels"]
    (container,) = dashboard["spec"]["template"]["spec"]["containers"]
    assert container["ports"][0]["containerPort"] == service["spec"]["ports"][0]["port"]


def test_compose_uses_existing_commands_and_services() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = compose["services"]
    for name in ("search", "dashboard"):
        parse(*services[name]["command"])
        assert set(services[name]["depends_on"]) <= set(services)
        for volume in services[name]["volumes"]:
            assert volume.startswith("${") or volume.partition(":")[0] in compose["volumes"]
    assert all(port.startswith("127.0.0.1:") for port in services["dashboard"]["ports"]), "the dashboard has no login"
    assert (DEPLOY.parent / services["search"]["build"]["dockerfile"]).exists()


def test_the_image_has_all_parts_of_the_package() -> None:
    copied = re.findall(r"^COPY (.*) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert {"pyproject.toml", "README.md", "LICENSE", "fmnist", "search", "studies"} == {
        name for line in copied for name in line.split()
    }


@pytest.mark.process
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_the_slurm_script_is_valid_bash_and_uses_existing_options() -> None:
    path = DEPLOY / "slurm.sh"
    subprocess.run(["bash", "-n", path], check=True)
    options = re.findall(r"--[a-z-]+", path.read_text().partition('fmnist-search "$@"')[2])
    valid = {option for parameter in COMMANDS["run"].params for option in parameter.opts}
    assert options == ["--executor", "--address"]
    assert set(options) <= valid
