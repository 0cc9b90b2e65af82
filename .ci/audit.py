"""Known vulnerabilities of what is installed here, by pip-audit; one line and no failure where it cannot ask."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

PATIENCE = 90  # seconds for all of it


def main() -> int:
    """0 where nothing is known to be wrong, or nothing could be asked."""
    if importlib.util.find_spec("pip_audit") is None:
        return _skipped("pip-audit is not installed")
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--timeout", "10", "--skip-editable"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return _skipped("no answer in time")
    except (ValueError, KeyError):
        return _skipped("the network cannot be reached")
    found = [(each, hole) for each in packages for hole in each.get("vulns", ())]
    for each, hole in found:
        fixed = ", ".join(hole["fix_versions"]) or "no version yet"
        print(f"{each['name']} {each['version']}: {hole['id']}, fixed in {fixed}", file=sys.stderr)
    print(f"pip-audit: {len(packages)} packages, {len(found)} known vulnerabilities")
    return 1 if found else 0


def _skipped(why: str) -> int:
    print(f"pip-audit: skipped, {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
