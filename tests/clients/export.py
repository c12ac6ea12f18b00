"""A bulk export with smart-fetch, as its command line does it: backend-service authorization, kick-off, status, files.

PHAROS_BIN is the program, PHAROS_SYNTHEA the folder of Synthea Bundles that are loaded before. What is on disk then is what the server
has, resource by resource. Prints a line for each check and ends with `N passed, N failed`.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import jwt
import requests
from backend import ENVIRONMENT, Key, add_client, check, counts, served, token

TYPES = ["AllergyIntolerance", "Condition", "DiagnosticReport", "DocumentReference", "Encounter", "Immunization"]
TYPES += ["MedicationRequest", "Observation", "Patient", "Procedure"]
SCOPE = " ".join(f"system/{name}.rs" for name in TYPES)


def private_jwks(key):
    """The key as smart-fetch wants it."""
    jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key.private))
    return {"keys": [jwk | {"kid": "one", "alg": "ES384", "key_ops": ["sign"]}]}


def fetch(server, keys, folder, *more):
    """Runs smart-fetch; what it wrote, by type and id."""
    program = Path(sys.executable).with_name("smart-fetch")
    command = [program, "bulk", folder, "--fhir-url", f"{server}/fhir", "--smart-client-id", "exporter"]
    command += ["--smart-key", keys, "--type", ",".join(TYPES), "--no-default-filters", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    found = {}
    for file in sorted(Path(folder).glob("**/*.ndjson*")):
        if file.name.startswith("log."):
            continue
        opened = gzip.open(file, "rt") if file.suffix == ".gz" else file.open()
        with opened as lines:
            for resource in map(json.loads, lines):
                name = (resource["resourceType"], resource["id"])
                if name in found:
                    raise RuntimeError(f"{name} came twice")
                found[name] = resource
    return found


def stored(server, bearer):
    """What searches give of all types, by type and id."""
    found = {}
    for kind in TYPES:
        url = f"{server}/fhir/{kind}?_count=1000"
        while url:
            page = requests.get(url, headers=bearer, timeout=60).json()
            for entry in page.get("entry", []):
                found[kind, entry["resource"]["id"]] = entry["resource"]
            url = next((link["url"] for link in page["link"] if link["relation"] == "next"), None)
    return found


def same(exported, expected):
    difference = [name for name in exported.keys() | expected.keys() if exported.get(name) != expected.get(name)]
    if difference:
        raise RuntimeError(f"{len(difference)} differ: {difference[:5]}")
    print(f"  {len(exported)} resources: {dict(Counter(kind for kind, _ in exported))}")
    return len(exported) > 0


def checks(server, key, keys, folder):
    bearer = {"Authorization": f"Bearer {token(server, key, 'exporter', SCOPE)}"}
    writer = {"Authorization": f"Bearer {token(server, key, 'loader', 'system/*.cruds')}"}
    everything = stored(server, bearer)
    check("smart-fetch exports what the server has", lambda: same(fetch(server, keys, f"{folder}/all"), everything))

    patients = sorted(name for kind, name in everything if kind == "Patient")[:3]
    members = [{"entity": {"reference": f"Patient/{name}"}} for name in patients]
    group = {"resourceType": "Group", "id": "some", "type": "person", "actual": True, "member": members}
    requests.put(f"{server}/fhir/Group/some", json=group, headers=writer, timeout=30).raise_for_status()
    wanted = {f"Patient/{name}" for name in patients}
    belongs = lambda one: one["resourceType"] == "Patient" and one["id"] in patients or bool(wanted & set(references(one)))
    of_group = {name: one for name, one in everything.items() if belongs(one)}
    check("smart-fetch exports a Group", lambda: same(fetch(server, keys, f"{folder}/group", "--group", "some"), of_group))

    query = "Patient?gender=female"
    women = {name: one for name, one in everything.items() if one["resourceType"] != "Patient" or one["gender"] == "female"}
    check("smart-fetch filters", lambda: same(fetch(server, keys, f"{folder}/filter", "--type-filter", query), women))


def references(value):
    """All references in a resource."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name == "reference" and isinstance(inner, str):
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def main():
    program, bundles = os.environ.get("PHAROS_BIN"), os.environ.get("PHAROS_SYNTHEA", "")
    if not program or not any(Path(bundles).glob("*.json.gz")):
        sys.exit("PHAROS_BIN is the path of the program, PHAROS_SYNTHEA that of the Bundles")
    with tempfile.TemporaryDirectory() as folder:
        key, store, keys = Key(), f"file:{folder}/data", Path(folder) / "private.jwks"
        keys.write_text(json.dumps(private_jwks(key)))
        add_client(program, store, Path(folder), key, "exporter", SCOPE)
        add_client(program, store, Path(folder), key, "loader", "system/*.cruds")
        load = [program, "load", bundles, "--store", store]
        loaded = subprocess.run(load, capture_output=True, text=True, env=ENVIRONMENT)
        if loaded.returncode != 0:
            sys.exit(f"the Bundles could not be loaded:\n{loaded.stderr}")
        with served(program, store) as server:
            checks(server, key, keys, folder)
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
