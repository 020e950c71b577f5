"""A view in a REST catalog as the protocol has it. Argument and answer are JSON objects.

{"uri": of the catalog, "credential": "id:secret", "namespace": n, "view": v, "create": view or null}; the answer is the
metadata of the view, which is created before where that is asked for.
"""

import json
import sys
import urllib.parse
import urllib.request

from sample import end

request = json.loads(sys.argv[1])
client_id, secret = request["credential"].split(":")


def call(path, body=None, token=None, kind="application/json"):
    headers = {"Content-Type": kind, **({"Authorization": f"Bearer {token}"} if token else {})}
    asked = urllib.request.Request(f"{request['uri']}/v1/{path}", data=body, headers=headers)
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)


form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, "scope": "catalog"}
login = urllib.parse.urlencode(form).encode()
token = call("oauth/tokens", login, kind="application/x-www-form-urlencoded")["access_token"]
views = f"namespaces/{request['namespace']}/views"
if request["create"]:
    call(views, json.dumps(request["create"]).encode(), token)
end(call(f"{views}/{request['view']}", token=token)["metadata"])
