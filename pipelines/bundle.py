"""Write each component as a folder of its own, with its sources beside its YAML: what the studio's *New component* takes.

    python pipelines/bundle.py FOLDER

The studio refuses a YAML that points outside its folder, as `code: ../src` does. This needs Python alone, no package.
"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CODE = re.compile(r"^code: (.+)$", re.MULTILINE)
ENVIRONMENT = re.compile(r"^environment: file:(.+)$", re.MULTILINE)


def field(text: str, name: str) -> str:
    """The value of a field at the top of a YAML."""
    (value,) = re.findall(rf"^{name}: (\S+)$", text, re.MULTILINE)
    return str(value)


def environment_of(component: Path) -> Path:
    """The YAML of the environment that a component runs in."""
    (path,) = ENVIRONMENT.findall(component.read_text())
    return (component.parent / path).resolve()


def bundled(component: Path) -> str:
    """The YAML of a component with its code beside it, in an environment that the workspace already has."""
    environment = environment_of(component).read_text()
    registered = f"environment: azureml:{field(environment, 'name')}:{field(environment, 'version')}"
    return ENVIRONMENT.sub(registered, CODE.sub("code: ./src", component.read_text()))


def write_bundle(component: Path, folder: Path) -> None:
    """Write `FOLDER/NAME/NAME.yaml` and `FOLDER/NAME/src`; an earlier bundle there is replaced.

    Raises:
        FileExistsError: The folder holds something else.
    """
    target = folder / component.stem
    if (target / component.name).is_file() and (target / "src").is_dir():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    (code,) = CODE.findall(component.read_text())
    sources = component.parent / code
    left_out = shutil.ignore_patterns(*(sources / ".amlignore").read_text().split())
    shutil.copytree(sources, target / "src", ignore=left_out)
    (target / component.name).write_text(bundled(component))


def main(folder: Path) -> None:
    """Write all components, and say which environments they need."""
    components = sorted((ROOT / "component").glob("*.yaml"))
    for component in components:
        try:
            write_bundle(component, folder)
        except FileExistsError as error:
            sys.exit(f"{error.filename} is there and is not a bundle; delete it or give another folder")
    environments = sorted({environment_of(component).relative_to(ROOT) for component in components})
    print(f"{len(components)} folders in {folder}: choose one at a time in the studio under Components, New component, Folder.")
    print("Create the environments first:")
    for environment in environments:
        print(f"  az ml environment create -f {environment}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python pipelines/bundle.py FOLDER")
    main(Path(sys.argv[1]))
