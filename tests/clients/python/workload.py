"""The PyPI package `spiffe`, unmodified: what it gets from a Workload API, as one line of JSON.

usage: workload.py SOCKET AUDIENCE
"""

import json
import queue
import sys

from cryptography.x509 import BasicConstraints
from spiffe import JwtSvid, WorkloadApiClient
from spiffe.errors import PySpiffeError

PATIENCE = 30


def refused(what):
    """The message of the error that it ends in; nothing if it ends in none."""
    try:
        what()
    except PySpiffeError as error:
        return str(error)
    return None


def main(socket, audience):
    told = {}
    with WorkloadApiClient(socket, default_timeout=PATIENCE) as client:
        told["denied"] = refused(client.fetch_x509_svid)
        if told["denied"]:
            told["denied_token"] = refused(lambda: client.fetch_jwt_svid({audience}))
            return told

        context = client.fetch_x509_context()
        svid = context.default_svid
        told["id"] = str(svid.spiffe_id)
        bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
        [authority] = bundle.x509_authorities
        svid.leaf.verify_directly_issued_by(authority)
        told["key_fits"] = svid.private_key.public_key() == svid.leaf.public_key()
        told["authority"] = authority.extensions.get_extension_for_class(BasicConstraints).value.ca
        told["bundles"] = sorted(str(one.trust_domain.name) for one in client.fetch_x509_bundles().bundles)

        token = client.fetch_jwt_svid({audience})
        told["token"], told["token_id"] = token.token, str(token.spiffe_id)
        keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(token.spiffe_id.trust_domain)
        JwtSvid.parse_and_validate(token.token, keys, {audience})
        told["validated"] = str(client.validate_jwt_svid(token.token, audience).spiffe_id)
        told["elsewhere"] = refused(lambda: client.validate_jwt_svid(token.token, "https://elsewhere.example"))

        # The stream brings the next certificate by itself.
        came = queue.Queue()
        handle = client.stream_x509_contexts(came.put, came.put)
        serials = set()
        while len(serials) < 2:
            one = came.get(timeout=PATIENCE)
            if isinstance(one, Exception):
                raise one
            serials.add(one.default_svid.leaf.serial_number)
        handle.cancel()
        told["renewed"] = len(serials)
    return told


print(json.dumps(main(*sys.argv[1:])), flush=True)
