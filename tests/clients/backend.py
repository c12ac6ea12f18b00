"""Backend services written with fhirpy and with fhirclient (SMART Python), against the real program.

PHAROS_BIN is the program. What is needed is in requirements.txt. Prints a line for each check and ends with
`N passed, N failed`.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from pathlib import Path

import jwt
import requests
from cryptography.hazmat.primitives.asymmetric import ec
from fhirclient.client import FHIRClient
from fhirclient.models.allergyintolerance import AllergyIntolerance
from fhirclient.models.auditevent import AuditEvent
from fhirclient.models.observation import Observation
from fhirclient.models.patient import Patient
from fhirclient.server import FHIRNotFoundException, FHIRPermissionDeniedException, FHIRUnauthorizedException
from fhirpy import AsyncFHIRClient, SyncFHIRClient
from fhirpy.base.exceptions import ForbiddenError, OperationOutcome, ResourceNotFound

DATA = Path(__file__).with_name("data.json")
ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
READER_SCOPE = "system/Patient.rs system/Observation.rs system/AuditEvent.rs"

# PHAROS_* are settings of the server, and it refuses those that it doesn't know.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PHAROS_")}

counts = {"passed": 0, "failed": 0}


def check(title, act):
    """Runs `act`; the check passes when it gives something true."""
    try:
        outcome = act()
        reason = "" if outcome else f"\n  it gave {outcome!r}"
    except Exception as error:  # whatever a client raises is a failed check, and the others go on
        body = getattr(getattr(error, "response", None), "text", "")
        outcome, reason = False, f"\n  {type(error).__name__}: {error} {body}"
    counts["passed" if outcome else "failed"] += 1
    print(f"{'ok' if outcome else 'not ok'} - {title}{reason}", flush=True)


def raises(kind, act, holds=lambda error: True):
    """Whether `act` raises this kind of exception, and it holds."""
    try:
        act()
    except kind as error:
        return holds(error)
    return False


class Key:
    """A key pair for ES384, and the assertions that it signs."""

    def __init__(self):
        self.private = ec.generate_private_key(ec.SECP384R1())

    def jwks(self):
        jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key()))
        return {"keys": [jwk | {"kid": "one", "use": "sig", "alg": "ES384"}]}

    def assertion(self, client_id, audience):
        claims = {"iss": client_id, "sub": client_id, "aud": audience, "exp": int(time.time()) + 240}
        return jwt.encode(claims | {"jti": uuid.uuid4().hex}, self.private, "ES384", headers={"kid": "one"})


def add_client(program, store, folder, key, client_id, scope):
    """Registers a backend service, before the server opens the store."""
    keys = folder / "keys.json"
    keys.write_text(json.dumps(key.jwks()))
    command = [program, "client", "add", "--store", store, "--id", client_id, "--name", client_id]
    command += ["--auth-method", "private_key_jwt", "--jwks", keys]
    command += ["--grant-type", "client_credentials", "--scope", scope]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)


@contextmanager
def served(program, store):
    """The server on a free port; gives its address."""
    environment = ENVIRONMENT | {"PHAROS_LOG_FORMAT": "json"}
    command = [program, "serve", "--store", store, "--listen", "127.0.0.1:0"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        address = None
        for line in process.stderr:
            if found := re.search(r'"address":"([^"]+)"', line):
                address = found[1]
                break
        if address is None:
            raise RuntimeError("the server did not start")
        # A full pipe would hold the server up.
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait(30)


def token(server, key, client_id, scope):
    """An access token, as SMART Backend Services gets it."""
    endpoint = requests.get(f"{server}/fhir/.well-known/smart-configuration", timeout=30).json()["token_endpoint"]
    form = {"grant_type": "client_credentials", "scope": scope, "client_assertion_type": ASSERTION}
    form["client_assertion"] = key.assertion(client_id, endpoint)
    answer = requests.post(endpoint, data=form, timeout=30)
    answer.raise_for_status()
    return answer.json()["access_token"]


def with_fhirpy(server, key):
    base = f"{server}/fhir"
    bearer = f"Bearer {token(server, key, 'reader', READER_SCOPE)}"
    reader = SyncFHIRClient(base, authorization=bearer)
    lenient = SyncFHIRClient(base, authorization=bearer, extra_headers={"Prefer": "handling=lenient"})
    patients, observations = reader.resources("Patient"), reader.resources("Observation")
    of_ada = observations.search(subject="Patient/ada", code="29463-7")
    absent, other_type = reader.reference("Patient", "nobody"), reader.resources("AllergyIntolerance")

    check("fhirpy reads", lambda: reader.reference("Patient", "ada").to_resource()["birthDate"] == "1815-12-10")
    check("fhirpy searches", lambda: ids(patients.search(family="Lovelace").fetch()) == ["ada"])
    check("fhirpy searches by two parameters", lambda: ids(of_ada.fetch()) == ["ada-weight"])
    check("fhirpy walks through pages of one", lambda: sorted(ids(patients.limit(1).fetch_all())) == ["ada", "charles"])
    check("fhirpy includes", lambda: included(of_ada) == [("ada-weight", "match"), ("ada", "include")])
    check("fhirpy gets the only match", lambda: patients.search(_id="charles").get()["gender"] == "male")
    # Its count() sends `_totalMethod`, which is not FHIR's: by default that is refused, as is all that is not known.
    check("fhirpy is told of a parameter that is not known", lambda: raises(OperationOutcome, patients.count, not_supported))
    check("fhirpy counts where handling is lenient", lambda: lenient.resources("Patient").count() == 2)
    check("fhirpy hears of what is not there", lambda: raises(ResourceNotFound, absent.to_resource))
    check("fhirpy is refused another type", lambda: raises(ForbiddenError, other_type.fetch))
    check("fhirpy is refused a write", lambda: raises(ForbiddenError, reader.resource("Patient").save))
    check("fhirpy reads twice at a time", lambda: asyncio.run(beside(base, bearer)) == ["ada", "charles"])

    loader = SyncFHIRClient(base, authorization=f"Bearer {token(server, key, 'loader', 'system/*.cruds')}")
    allergy = loader.resource("AllergyIntolerance", code={"text": "Dust"}, patient={"reference": "Patient/charles"})
    check("fhirpy creates", lambda: allergy.save() and allergy["id"] and allergy["meta"]["versionId"] == "1")
    allergy["code"] = {"text": "Cat hair"}
    check("fhirpy updates", lambda: allergy.save() and allergy["meta"]["versionId"] == "2")
    # Its refresh() sends `If-None-Match: 2`, which is no entity tag, and is told so; a reference is read without.
    written = loader.reference("AllergyIntolerance", allergy.get("id"))
    check("fhirpy reads what it wrote", lambda: written.to_resource()["code"] == {"text": "Cat hair"})
    check("fhirpy deletes", lambda: allergy.delete() is None and raises(ResourceNotFound, written.to_resource))


def ids(resources):
    return [one["id"] for one in resources]


def included(search):
    bundle = search.include("Observation", "subject").fetch_raw()
    return [(entry["resource"]["id"], entry["search"]["mode"]) for entry in bundle["entry"]]


def not_supported(error):
    return error.resource["issue"][0]["code"] == "not-supported"


async def beside(base, authorization):
    """Two reads at the same time."""
    client = AsyncFHIRClient(base, authorization=authorization)
    reads = [client.reference("Patient", name).to_resource() for name in ("ada", "charles")]
    return ids(await asyncio.gather(*reads))


def with_fhirclient(server, key):
    assertion = key.assertion("reader", f"{server}/auth/token")
    client = smart(server, assertion)
    read = lambda kind, name: kind.read(name, client.server)
    found = lambda kind, **wanted: [one.id for one in kind.where(wanted).perform_resources_iter(client.server)]

    check("fhirclient is not ready without a token", lambda: client.prepare() is False)
    check("fhirclient hears 401 without a token", lambda: raises(FHIRUnauthorizedException, lambda: read(Patient, "ada")))
    check("fhirclient gets a token by its key", lambda: client.authorize() is None and client.ready)
    check("fhirclient reads", lambda: read(Patient, "ada").name[0].family == "Lovelace")
    check("fhirclient reads a quantity", lambda: read(Observation, "ada-weight").valueQuantity.value == 54.3)
    check("fhirclient searches", lambda: found(Patient, family="babbage") == ["charles"])
    check("fhirclient chains", lambda: found(Observation, **{"subject:Patient.name": "ada"}) == ["ada-weight"])
    check("fhirclient walks through pages of one", lambda: found(Patient, _count="1", _sort="_id") == ["ada", "charles"])
    check("fhirclient hears of what is not there", lambda: raises(FHIRNotFoundException, lambda: read(Patient, "nobody")))
    check("fhirclient is refused another type", lambda: raises(FHIRPermissionDeniedException, lambda: found(AllergyIntolerance)))
    check("fhirclient is refused a write", lambda: raises(FHIRPermissionDeniedException, lambda: Patient().create(client.server)))

    seen_by = lambda patient: AuditEvent.where({"patient": patient, "action": "R", "outcome": "0"}).perform_resources_iter(client.server)
    requestors = lambda patient: {agent.altId for event in seen_by(patient) for agent in event.agent if agent.requestor}
    check("fhirclient asks who has seen a record", lambda: requestors("Patient/ada") == {"reader"})

    again = smart(server, assertion)
    again.prepare()
    check("an assertion is good once", lambda: raises(FHIRUnauthorizedException, again.authorize, invalid_client))


def smart(server, assertion):
    settings = {"app_id": "reader", "api_base": f"{server}/fhir", "scope": READER_SCOPE, "jwt_token": assertion}
    client = FHIRClient(settings=settings)
    # It would ask for `launch/patient` otherwise.
    client.wants_patient = False
    return client


def invalid_client(error):
    return error.response.json()["error"] == "invalid_client"


def main():
    program = os.environ.get("PHAROS_BIN")
    if not program:
        sys.exit("PHAROS_BIN is not set: it is the path of the program")
    with tempfile.TemporaryDirectory() as folder:
        key, store = Key(), f"file:{folder}/data"
        add_client(program, store, Path(folder), key, "loader", "system/*.cruds")
        add_client(program, store, Path(folder), key, "reader", READER_SCOPE)
        with served(program, store) as server:
            bearer = {"Authorization": f"Bearer {token(server, key, 'loader', 'system/*.cruds')}"}
            headers = bearer | {"Content-Type": "application/fhir+json"}
            loaded = requests.post(f"{server}/fhir", data=DATA.read_bytes(), headers=headers, timeout=30)
            check("the data is loaded with a backend service's token", lambda: loaded.status_code == 200)
            with_fhirpy(server, key)
            with_fhirclient(server, key)
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    sys.exit(1 if counts["failed"] else 0)


if __name__ == "__main__":
    main()
