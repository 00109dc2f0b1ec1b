"""The JavaScript SDKs: their tests run in Node, against the same proxy."""

import os
import pathlib
import subprocess

from proxy import CLIENT_KEY, PROMPT

HERE = pathlib.Path(__file__).parent / "javascript"


def test_the_javascript_sdks(proxy, tmp_path):
    # Node finds packages beside the file that asks for them.
    for file in HERE.glob("*.mjs"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "node_modules").symlink_to(os.environ["TRUNKLINE_NODE_MODULES"])
    env = {**os.environ, "PROXY": proxy.client, "CLIENT_KEY": CLIENT_KEY, "PROMPT": PROMPT}
    files = sorted(str(file) for file in tmp_path.glob("*.test.mjs"))
    assert files
    ran = subprocess.run(
        ["node", "--test", "--test-reporter=tap", *files], cwd=tmp_path, env=env,
        capture_output=True, text=True, timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
