"""Build the lab's only Python wheel. A lock file contains the wheel's checksum.

The wheel is the same bytes on every machine: it is not compressed, the times in it are fixed, and its members are sorted.
Format: the binary distribution format (PyPA specification, originally PEP 427), with ``RECORD`` as in "Recording installed
projects".
"""

import base64
import hashlib
import io
import zipfile

NAME = "hpcdeploy-demo-wheel"
VERSION = "1.0.0"
FILE = "hpcdeploy_demo_wheel-1.0.0-py3-none-any.whl"
SITE = "https://pypi.example.org/packages"
"""The index of the wheel in lock files. ``example.org`` is reserved (RFC 2606), so pixi needs a mirror for this address."""

_INFO = "hpcdeploy_demo_wheel-1.0.0.dist-info"
_TIME = (2025, 11, 20, 0, 0, 0)
_MEMBERS = {
    "hpcdeploy_demo_wheel.py": f'"""Made for hpcdeploy\'s lab."""\n\n\ndef main() -> None:\n    print("{NAME} {VERSION}")\n',
    f"{_INFO}/METADATA": f"Metadata-Version: 2.1\nName: {NAME}\nVersion: {VERSION}\n",
    f"{_INFO}/WHEEL": "Wheel-Version: 1.0\nGenerator: hpcdeploy lab\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{_INFO}/entry_points.txt": f"[console_scripts]\n{NAME} = hpcdeploy_demo_wheel:main\n",
}


def build() -> bytes:
    """Return the content of the wheel."""
    record = "".join(f"{name},sha256={_digest(text)},{len(text)}\n" for name, text in sorted(_MEMBERS.items()))
    members = {**_MEMBERS, f"{_INFO}/RECORD": f"{record}{_INFO}/RECORD,,\n"}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in sorted(members.items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = 0o100644 << 16
            entry.create_system = 3
            archive.writestr(entry, text)
    return buffer.getvalue()


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
